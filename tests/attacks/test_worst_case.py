"""Worst of several attacks: prefixes, calls, members in every form, and whose objective is stated."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from imaseg import APGD, FGSM, IFGSM, L2, PGD, Dice, Erase, GaussianNoise, Linf, Square, WorstCase
from imaseg.objectives import CrossEntropy, LogitMargin, MaskedCE
from tests.attacks.models import trained_model


@pytest.fixture(scope="module")
def trained():
    return trained_model()


def _members(budget):
    return [
        FGSM(budget, objective=CrossEntropy()),
        PGD(budget, steps=4, objective=MaskedCE()),
        Square(budget, steps=6),
        APGD(budget, steps=5, objective=LogitMargin()),
    ]


@pytest.mark.parametrize(("kind", "eps"), [(L2, 1.0), (Linf, 0.2)])
def test_more_members_never_weaken_the_result_of_any_sample(trained, kind, eps):
    model, image, label = trained
    members = _members(kind(eps))
    dice = [
        WorstCase(kind(eps), members=members[:count])(model, image, label).foreground_dice
        for count in range(1, len(members) + 1)
    ]
    assert all((more <= fewer).all() for fewer, more in pairwise(dice))
    assert dice[-1].mean() < dice[0].mean() - 0.02


@pytest.mark.parametrize("place", range(4))
def test_the_first_member_searches_as_it_does_alone(trained, place):
    model, image, label = trained
    first, *others = _members(L2(1.0))[place:]
    alone = first.on(L2(1.0), seed=5)(model, image, label)
    single = WorstCase(L2(1.0), members=[first], seed=5)(model, image, label)
    assert torch.equal(single.image, alone.image)
    assert torch.equal(single.dice, alone.dice)
    together = WorstCase(L2(1.0), members=[first, *others], seed=5)(model, image, label)
    assert (together.foreground_dice <= alone.foreground_dice).all()


def test_members_without_chance_are_each_no_stronger_than_all_together(trained):
    model, image, label = trained
    budget = L2(1.5)
    members = [FGSM(budget), IFGSM(budget, steps=5, objective=CrossEntropy()), IFGSM(budget, steps=5)]
    together = WorstCase(budget, members=members)(model, image, label)
    dice = [member(model, image, label).foreground_dice for member in members]
    assert torch.equal(together.foreground_dice, torch.stack(dice).amin(0))


def test_calls_are_those_of_the_members_and_one_clean_pass(trained):
    model, image, label = trained
    budget = L2(0.5)  # destroys no sample
    members = _members(budget)
    calls = []
    handle = model.register_forward_hook(lambda *_: calls.append(1))
    result = WorstCase(budget, members=members)(model, image, label)
    handle.remove()
    alone = [member(model, image, label) for member in members]
    assert result.forward_calls == len(calls)
    assert result.backward_calls == sum(one.backward_calls for one in alone) == 1 + 4 + 0 + 5
    assert result.forward_calls == sum(one.forward_calls - 1 for one in alone) + 1


def test_what_is_destroyed_is_not_searched_again(trained):
    model, image, label = trained
    sizes = []
    handle = model.register_forward_hook(lambda _, given, __: sizes.append(len(given[0])))
    result = WorstCase(L2(90.0), members=[PGD(L2(90.0), steps=20)] * 3)(model, image, label)
    handle.remove()
    assert result.foreground_dice.max() == 0
    assert result.backward_calls < 60
    assert sizes[:-1] == sorted(sizes[:-1], reverse=True)
    assert sizes[-2] < 8


@pytest.mark.parametrize(("steps", "shares"), [(12, [3, 3, 3, 3]), (14, [4, 4, 3, 3]), (4, [1, 1, 1, 1])])
def test_steps_are_shared_out(trained, steps, shares):
    model, image, label = trained
    attack = WorstCase(L2(0.5), steps=steps)
    assert [member.steps for member in attack.members] == shares
    assert attack.steps == attack(model, image, label).backward_calls == steps


def test_steps_that_are_stated_are_steps_that_are_spent(trained):
    """FGSM has one step whatever its share; a preset of several members hands its share on."""
    model, image, label = trained
    one_step = WorstCase(L2(0.5), members=["fgsm", "pgd"], steps=10)
    assert one_step.members[0].steps == 1
    assert one_step.steps == one_step(model, image, label).backward_calls
    nested = WorstCase(L2(0.5), members=["sea", "pgd"], steps=16)
    assert nested.steps == nested(model, image, label).backward_calls == 16
    shorter = WorstCase(L2(0.5)).with_steps(8)
    assert shorter.steps == shorter(model, image, label).backward_calls == 8


def test_members_keep_their_own_steps_unless_told():
    attack = WorstCase(L2(1.0), members=["fgsm", {"name": "pgd", "steps": 7}, IFGSM(L2(9.0), steps=3)])
    assert [member.steps for member in attack.members] == [1, 7, 3]
    assert attack.steps == 11


def test_members_are_names_presets_mappings_and_attacks():
    budget = L2(1.0)
    given = ["pgd", "segpgd", {"name": "apgd", "objective": "masked-ce", "steps": 5}, PGD(Linf(9.0), seed=4)]
    attack = WorstCase(budget, members=given, seed=7)
    assert [member.name for member in attack.members] == ["pgd", "pgd", "apgd", "pgd"]
    assert [member.objective.name for member in attack.members] == ["dice", "segpgd", "masked-ce", "dice"]
    assert all(member.perturbation is budget and member.seed == 7 for member in attack.members)
    assert given[3].seed == 4
    assert isinstance(given[3].perturbation, Linf)


def test_the_four_objectives_of_sea_are_the_default():
    names = [member.objective.name for member in WorstCase(L2(1.0)).members]
    assert names == ["masked-ce", "segpgd", "jensen-shannon", "masked-spherical"]
    assert all(isinstance(member, APGD) for member in WorstCase(L2(1.0)).members)


@pytest.mark.parametrize("shared", [False, True], ids=["own objectives", "one objective for all"])
def test_the_result_states_the_attack_s_own_objective(trained, shared):
    model, image, label = trained
    objective = LogitMargin()
    last = GaussianNoise(L2(0.5), objective=objective) if shared else PGD(L2(0.5), steps=2, objective=MaskedCE())
    members = [PGD(L2(0.5), steps=4, objective=CrossEntropy()), last]
    result = WorstCase(L2(0.5), members=members, objective=objective)(model, image, label)
    with torch.no_grad():
        torch.testing.assert_close(result.objective, LogitMargin()(model(result.image), label))
        torch.testing.assert_close(result.objective_clean, LogitMargin()(model(image), label))
    rungs = WorstCase(L2(0.5), members=members, objective=objective).ladder(model, image, label, [0.3, 0.5])
    for rung in rungs:
        with torch.no_grad():
            torch.testing.assert_close(rung.objective, LogitMargin()(model(rung.image), label))


def test_targeted_members_are_not_ignored(trained):
    """With one goal for all, the best of the members is no worse at it than the first alone."""
    model, image, label = trained
    budget = L2(1.0)
    alone = IFGSM(budget, steps=6, objective=Erase(1))(model, image, label)
    members = [IFGSM(budget, steps=6, objective=Erase(1)), PGD(budget, steps=6, objective=Erase(1))]
    together = WorstCase(budget, members=members, objective=Erase(1))(model, image, label)
    assert (alone.objective > alone.objective_clean + 0.01).all()
    assert (together.objective >= alone.objective - 1e-6).all()


def test_restarts_repeat_the_whole_and_never_weaken_it(trained):
    model, image, label = trained
    members = [PGD(L2(1.0), steps=3), APGD(L2(1.0), steps=3)]
    once, thrice = (WorstCase(L2(1.0), members=members, restarts=n)(model, image, label) for n in (1, 3))
    assert (once.backward_calls, thrice.backward_calls) == (6, 18)
    assert (thrice.foreground_dice <= once.foreground_dice).all()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"members": []}, "members must hold at least one attack, got none. Use None for the default ones"),
        ({"steps": 3}, r"steps must be at least the number of members \(4\), got 3"),
        ({"members": ["pgd", "ifgsm"], "steps": 1}, r"steps must be at least the number of members \(2\), got 1"),
        ({"members": ["sea", "pgd"], "steps": 4}, r"steps must be at least the number of members \(4\), got 2"),
        ({"members": ["pdg"]}, "attack must be one of .*pgd.*, got 'pdg'"),
        ({"members": ["vafa"]}, "perturbation of vafa must be frequency"),
        ({"members": ["pgd", "minimum-norm"]}, "members must look for the lowest Dice, got minimum-norm"),
    ],
)
def test_nonsense_is_refused(arguments, text):
    with pytest.raises(ValueError, match=text):
        WorstCase(L2(1.0), **arguments)


def test_no_attack_can_be_made_empty():
    with pytest.raises(ValueError, match="steps must be a whole number >= 1, got 0"):
        PGD(L2(1.0)).with_steps(0)


def test_the_default_is_dice():
    assert type(WorstCase(L2(1.0)).objective) is Dice
