"""Several budgets in one call: Dice never rises, the first rung is a plain call, and each rung pays for itself."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from imaseg import IFGSM, L2, PGD, BiasField, Deformation, DiceBelow, Erase, Linf
from imaseg.attacks import Attack
from tests.attacks.models import messy_model, same_state, state_of, trained_model

RUNGS = {"l2": (L2, [0.0, 0.5, 1.0, 2.0, 3.0]), "bias-field": (BiasField, [0.0, 0.2, 0.5, 1.0])}


@pytest.fixture(scope="module")
def trained():
    return trained_model()


def _attack(name, budget, **settings):
    steps = {} if name == "fgsm" else {"steps": 6}
    return Attack.build({"name": name, **steps, **settings}, budget, seed=3)


@pytest.mark.parametrize("name", Attack.known())
@pytest.mark.parametrize("kind", RUNGS)
def test_dice_never_rises_with_eps(trained, name, kind):
    model, image, label = trained
    make, rungs = RUNGS[kind]
    results = _attack(name, make(9.0)).ladder(model, image, label, rungs)
    assert [result.eps.tolist() for result in results] == [pytest.approx([eps] * 8) for eps in rungs]
    assert all((result.size <= result.eps * (1 + 1e-5)).all() for result in results)
    assert all((larger.foreground_dice <= smaller.foreground_dice).all() for smaller, larger in pairwise(results))
    assert torch.equal(results[0].image, image)
    assert results[-1].foreground_dice.mean() < results[0].foreground_dice.mean() - 0.01
    for eps, result in zip(rungs, results, strict=True):
        assert f"eps={eps}" in result.attack
        with torch.no_grad():
            assert torch.equal(model(result.image).argmax(1), result.prediction)


@pytest.mark.parametrize("name", Attack.known())
@pytest.mark.parametrize("kind", RUNGS)
def test_the_first_rung_is_a_plain_call(trained, name, kind):
    model, image, label = trained
    make, rungs = RUNGS[kind]
    first = _attack(name, make(9.0)).ladder(model, image, label, rungs[2:])[0]
    alone = _attack(name, make(rungs[2]))(model, image, label)
    assert torch.equal(first.image, alone.image)
    assert torch.equal(first.dice, alone.dice)
    assert first.attack == alone.attack
    assert (first.forward_calls, first.backward_calls) == (alone.forward_calls, alone.backward_calls)


@pytest.mark.parametrize("name", Attack.known())
def test_each_rung_counts_its_own_calls(trained, name):
    model, image, label = trained
    attack, calls, backward = _attack(name, L2(1.0)), [], []
    forward_hook = model.register_forward_hook(lambda *_: calls.append(1))
    backward_hook = model[0].register_full_backward_hook(lambda *_: backward.append(1))
    results = attack.ladder(model, image, label, [0.3, 0.4, 0.5])
    forward_hook.remove()
    backward_hook.remove()
    assert sum(result.forward_calls for result in results) == len(calls)
    assert sum(result.backward_calls for result in results) == len(backward)
    assert all(result.backward_calls == results[0].backward_calls for result in results)
    clean_pass = 1
    assert [result.forward_calls + clean_pass for result in results[1:]] == [results[0].forward_calls] * 2


@pytest.mark.parametrize("name", ["pgd", "apgd", "strong", "ifgsm"])
def test_it_is_no_weaker_than_searching_each_budget_anew(trained, name):
    model, image, label = trained
    rungs = [0.5, 1.0, 1.5, 2.0]
    ladder = _attack(name, L2(1.0)).ladder(model, image, label, rungs)
    anew = [_attack(name, L2(eps))(model, image, label) for eps in rungs]
    mean = [sum(one.foreground_dice.mean() for one in results) / 4 for results in (ladder, anew)]
    assert mean[0] <= mean[1] + 0.005


@pytest.mark.parametrize("name", ["pgd", "ifgsm", "apgd", "strong", "square", "minimum-norm"])
def test_each_search_begins_with_what_the_one_before_found_blown_up(trained, name):
    model, image, label = trained
    seen = []
    handle = model.register_forward_hook(lambda _, given, __: seen.append(given[0] - image[: len(given[0])]))
    first, second = _attack(name, Linf(1.0)).ladder(model, image, label, [0.05, 0.08])
    handle.remove()
    assert len(seen) == first.forward_calls + second.forward_calls
    torch.testing.assert_close(seen[first.forward_calls], first.params * 1.6, rtol=1e-4, atol=1e-5)


def test_budgets_may_differ_between_samples(trained):
    model, image, label = trained
    rungs = [torch.linspace(0.1, 1.0, 8), torch.linspace(0.1, 2.0, 8), 2.5]
    results = PGD(L2(1.0), steps=5).ladder(model, image, label, rungs)
    for eps, result in zip(rungs, results, strict=True):
        torch.testing.assert_close(result.eps, torch.as_tensor(eps).expand(8))
        assert (result.size <= result.eps * (1 + 1e-5)).all()
    assert all((larger.foreground_dice <= smaller.foreground_dice).all() for smaller, larger in pairwise(results))


def test_equal_budgets_go_on_searching(trained):
    model, image, label = trained
    first, second = PGD(L2(1.5), steps=4).ladder(model, image, label, [1.5, 1.5])
    assert (second.foreground_dice <= first.foreground_dice).all()
    assert second.backward_calls == 4


@pytest.mark.parametrize("rungs", [[1.0, 0.5], [0.5, torch.tensor([0.6] * 7 + [0.4])]])
def test_budgets_that_fall_are_refused(trained, rungs):
    model, image, label = trained
    with pytest.raises(ValueError, match="eps of a ladder must be in rising order, got .* before "):
        PGD(L2(1.0), steps=1).ladder(model, image, label, rungs)


def test_a_ladder_without_rungs_is_empty(trained):
    model, image, label = trained
    assert PGD(L2(1.0), steps=1).ladder(model, image, label, []) == []


@pytest.mark.parametrize("name", Attack.known())
def test_model_and_random_state_are_left_as_they_were(name):
    generator = torch.Generator().manual_seed(1)
    image, label = torch.randn(2, 2, 6, 5, generator=generator), torch.randint(3, (2, 6, 5), generator=generator)
    model = messy_model(2)
    before, random = state_of(model), torch.get_rng_state()
    attack = _attack(name, L2(1.0))
    settings = dict(vars(attack))
    attack.ladder(model, image, label, [0.5, 1.0])
    assert same_state(before, state_of(model))
    assert torch.equal(random, torch.get_rng_state())
    assert vars(attack) == settings


def test_what_met_the_criterion_once_stays_met_and_is_searched_no_further(trained):
    model, image, label = trained
    sizes = []
    handle = model.register_forward_hook(lambda _, given, __: sizes.append(len(given[0])))
    rungs = [0.5, 2.0, 4.0, 8.0]
    results = PGD(L2(1.0), steps=5).ladder(model, image, label, rungs, criterion=DiceBelow(0.7))
    handle.remove()
    success = torch.stack([result.success for result in results])
    assert not success[0].any()
    assert success[-1].all()
    assert (success[1:] >= success[:-1]).all()
    for i in range(8):
        first = int(success[:, i].int().argmax())
        assert all(torch.equal(results[k].image[i], results[first].image[i]) for k in range(first, 4))
    assert min(sizes) < 8


def test_a_targeted_objective_never_falls(trained):
    model, image, label = trained
    attack = IFGSM(Linf(0.1), steps=4, objective=Erase(1))
    results = attack.ladder(model, image, label, [0.02, 0.05, 0.1])
    assert all((larger.objective >= smaller.objective).all() for smaller, larger in pairwise(results))
    assert (results[-1].objective > results[-1].objective_clean).all()


def test_moved_labels_are_judged_where_they_are(trained):
    model, image, label = trained
    results = PGD(Deformation(1.0), steps=4).ladder(model, image, label, [0.3, 1.0])
    assert (results[1].foreground_dice <= results[0].foreground_dice).all()
    for result in results:
        with torch.no_grad():
            inside, hit = result.label == 1, model(result.image).argmax(1) == 1
        dice = 2 * (inside & hit).flatten(1).sum(1) / (inside.flatten(1).sum(1) + hit.flatten(1).sum(1))
        torch.testing.assert_close(result.foreground_dice, dice)
