"""Sample margins: closed forms on linear models, censoring, clean failures, and what they promise."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from imaseg import L2, PGD, Dice, DiceBelow, Gamma, Linf, SampleMargin, VoxelsFlipped
from imaseg.attacks import Attack
from imaseg.margins import default_challenger
from imaseg.objectives import TemperedDice
from imaseg.scores import foreground_dice
from tests.attacks.models import LinearPerVoxel, messy_model, same_state, state_of, trained_model


def _case(seed=0, voxels=(3, 3), batch=4):
    generator = torch.Generator().manual_seed(seed)
    model = LinearPerVoxel(torch.tensor([1.0, -2.0, 2.0]), bias=0.1)
    image = torch.randn(batch, 3, *voxels, generator=generator)
    with torch.no_grad():
        gap = model.gap(image)
    return model, image, (gap > 0).long(), gap.abs()


def _any_voxel(perturbation, rtol=0.01):
    return SampleMargin(perturbation, criterion=VoxelsFlipped(0.0), rtol=rtol)


@pytest.mark.parametrize(("kind", "dual"), [(L2, 3.0), (Linf, 5.0)])
def test_one_voxel_cases_hit_the_closed_form_within_one_percent(kind, dual):
    model, image, label, gap = _case(voxels=(1, 1), batch=8)
    result = _any_voxel(kind(10.0))(model, image, label)
    torch.testing.assert_close(result.margin, gap.flatten() / dual, rtol=0.01, atol=0)
    assert not result.censored.any()


@pytest.mark.parametrize(("kind", "dual"), [(L2, 3.0), (Linf, 5.0)])
@pytest.mark.parametrize("voxels", [(3, 3), (3, 2, 4)])
def test_margin_of_any_voxel_is_the_smallest_voxel_margin(kind, dual, voxels):
    model, image, label, gap = _case(voxels=voxels)
    result = _any_voxel(kind(10.0))(model, image, label)
    torch.testing.assert_close(result.margin, gap.flatten(1).amin(1) / dual, rtol=0.01, atol=0)


def test_voxels_wrong_from_the_start_do_not_count_as_flipped():
    # Budgets of Linf do not compete: the margin is that of the voxel with which the share is exceeded.
    model, image, label, gap = _case(voxels=(6, 6), batch=3)
    wrong = torch.zeros_like(label, dtype=torch.bool)
    wrong[:, :2] = True
    result = SampleMargin(Linf(10.0), criterion=VoxelsFlipped(0.1), rtol=0.01)(model, image, label ^ wrong)
    # 24 voxels are right: the third to flip is more than 10 percent of them.
    expected = gap.masked_fill(wrong, torch.inf).flatten(1).sort(1).values[:, 2] / 5.0
    torch.testing.assert_close(result.margin, expected, rtol=0.01, atol=0)


def test_margin_of_a_class_is_that_of_its_weakest_voxel():
    model, image, label, gap = _case()
    margin = SampleMargin(L2(10.0), criterion=VoxelsFlipped(0.0, classes=[1]), rtol=0.01)
    own = gap.where(label == 1, torch.inf).flatten(1).amin(1)
    torch.testing.assert_close(margin(model, image, label).margin, own / 3.0, rtol=0.01, atol=0)


def test_bounds_make_the_margin_larger_as_the_closed_form_says():
    # One channel of weight 1, one voxel, gap 0.5: free margin 0.5; with room for 0.5 only it is still 0.5,
    # with two channels of which one has no room the other carries all: Linf needs 0.5, not 0.25.
    model = LinearPerVoxel(torch.tensor([1.0, 1.0]), bias=-0.5)
    image = torch.zeros(1, 2, 1, 1)
    label = torch.zeros(1, 1, 1, dtype=torch.long)
    free = _any_voxel(Linf(2.0))(model, image, label)
    assert free.margin.item() == pytest.approx(0.25, rel=0.01)
    image[0, 1] = 1.0
    model.bias = -1.5
    bounded = _any_voxel(Linf(2.0, bounds=(-5.0, 1.0)))(model, image, label)
    assert bounded.margin.item() == pytest.approx(0.5, rel=0.01)


@pytest.mark.parametrize("kind", [L2, Linf])
def test_a_case_beyond_the_budget_is_censored_at_it(kind):
    model, image, label, gap = _case(voxels=(1, 1))
    budget = kind(float(gap.min()) / 20)
    result = _any_voxel(budget)(model, image, label)
    assert result.censored.all()
    torch.testing.assert_close(result.margin, torch.full((4,), budget.eps))
    assert torch.equal(result.adversarial, image)


def test_a_censored_case_costs_two_searches_and_no_more():
    model, image, label, gap = _case(voxels=(1, 1), batch=1)
    attack = PGD(L2(float(gap) / 20), steps=3)
    result = SampleMargin(attack.perturbation, criterion=VoxelsFlipped(0.0), attack=attack)(model, image, label)
    assert result.censored.all()
    assert (result.forward_calls, result.backward_calls) == (1 + 2 * 5, 2 * 3)


def test_a_clean_failure_has_margin_zero():
    model, image, label, _ = _case(batch=3)
    label[1] = 1 - label[1]
    result = SampleMargin(L2(5.0), criterion=DiceBelow(0.5))(model, image, label)
    assert result.margin[1] == 0
    assert not result.censored[1]
    assert (result.margin[[0, 2]] > 0).all()


@given(scale=st.floats(0.1, 10), seed=st.integers(0, 20))
@settings(max_examples=10, deadline=None)
def test_scaling_image_and_bias_scales_the_margin(scale, seed):
    model, image, label, _ = _case(seed, voxels=(2, 2), batch=2)
    usual = _any_voxel(Linf(10.0))(model, image, label).margin
    model.bias *= scale
    scaled = _any_voxel(Linf(10.0 * scale))(model, image * scale, label).margin
    torch.testing.assert_close(scaled, usual * scale, rtol=0.02, atol=0)


def _net():
    torch.manual_seed(0)
    model = messy_model(2, channels=1, classes=3)
    image = torch.randn(4, 1, 10, 10)
    with torch.no_grad():
        label = model.eval()(image).argmax(1)
    model.train()
    return model, image, label


@pytest.mark.parametrize("perturbation", [L2(5.0), L2(0.5, unit="rms"), Linf(0.5)], ids=["l2", "rms", "linf"])
def test_the_adversarial_image_breaks_the_case_at_exactly_the_margin(perturbation):
    model, image, label = _net()
    result = SampleMargin(perturbation, criterion=DiceBelow(0.5))(model, image, label)
    broken = ~result.censored & (result.margin > 0)
    assert broken.any()
    with torch.no_grad():
        dice = foreground_dice(model.eval()(result.adversarial), label)
    assert (dice[broken] < 0.5).all()
    torch.testing.assert_close(perturbation.size(result.adversarial - image)[broken], result.margin[broken])


def test_pgd_with_three_restarts_fails_just_below_nineteen_of_twenty_margins():
    model, image, label = trained_model()
    rtol, broken = 0.05, []
    result = SampleMargin(L2(9.0), criterion=DiceBelow(0.5), rtol=rtol)(model, image, label)
    assert not result.censored.any()
    for seed in range(7, 17):
        below = PGD(L2(result.margin * (1 - rtol)), restarts=3, seed=seed)
        broken.append(below(model, image, label, criterion=DiceBelow(0.5)).success)
    assert torch.stack(broken).float().mean() <= 0.05


def test_a_challenger_of_another_kind_finds_smaller_margins():
    model, image, label = trained_model()
    attack = PGD(L2(9.0))
    alone, challenged = (
        SampleMargin(L2(9.0), criterion=DiceBelow(0.5), attack=attack, challenger=challenger)(model, image, label)
        for challenger in (None, default_challenger(attack))
    )
    assert (challenged.margin <= alone.margin).all()
    assert (challenged.margin < 0.95 * alone.margin).any()
    assert default_challenger(attack).objective.__class__ is TemperedDice


class _Along(Attack):
    """Tries one point: as far as eps along where it was started, or along `direction`; nothing below `shortest`."""

    def __init__(self, perturbation, *, direction, shortest=0.0, **settings):
        super().__init__(perturbation, **settings)
        self.direction, self.shortest = direction, shortest

    def _run(self, search):
        radius = self.perturbation.radius(search.image)
        known = search.start is not None and bool((search.start != 0).any())
        way = (search.start if known else torch.full_like(search.image, self.direction)).sign()
        if bool((radius >= self.shortest).all()):
            search.score(way * radius.view(-1, 1, 1, 1))


def _breaks_either_way(image):
    """Right between -0.2 and 1."""
    inside = torch.minimum(1.0 - image, image + 0.2)
    return torch.cat([-inside, inside], 1)


def test_what_an_attack_failed_at_is_forgotten_where_a_challenger_breaks_the_case():
    """The attack finds the far side only; one look of the challenger at the near side opens the bracket from 0."""
    image, label = torch.zeros(1, 1, 1, 2), torch.ones(1, 1, 2, dtype=torch.long)
    attack = _Along(Linf(4.0), direction=1.0)
    challenger = _Along(Linf(4.0), direction=-1.0, shortest=0.5)
    for other, expected in ((None, 1.0), (challenger, 0.2)):
        search = SampleMargin(Linf(4.0), criterion=VoxelsFlipped(0.0), attack=attack, challenger=other, rtol=0.01)
        result = search(_breaks_either_way, image, label)
        assert expected <= result.margin.item() <= expected * 1.011


def _breaks_in_a_gap(image):
    """Says 1 of the middle voxel unless its value lies in (0.58, 0.593) or below 0.25; steps without a slope."""
    middle = image[:, :, 1]
    wrong = ((middle > 0.58) & (middle < 0.593)) | (middle < 0.25)
    logits = torch.zeros(len(image), 2, *image.shape[2:])
    logits[:, 1, 1] = torch.where(wrong, -1.0, 1.0)[:, 0] + 0 * middle[:, 0]
    return logits


@pytest.mark.parametrize("eps", [0.9, 1.5], ids=["nothing else within eps", "a wider valley further out"])
def test_the_only_parameter_of_a_set_is_looked_through(eps):
    image = torch.tensor([0.0, 0.5, 1.0]).reshape(1, 1, 3, 1)
    label = torch.tensor([0, 1, 0]).reshape(1, 3, 1)
    result = SampleMargin(Gamma(eps), rtol=0.02)(_breaks_in_a_gap, image, label)
    exponent = math.log(0.58) / math.log(0.5)  # below 1: the relative change is 1 / exponent - 1, downwards
    assert not result.censored.any()
    torch.testing.assert_close(result.margin, torch.tensor([1 / exponent - 1]), rtol=0.02, atol=0)


def test_a_look_that_breaks_the_case_is_drawn_back_to_the_look_before_it():
    """No attack finds anything; looks are 0.0475 apart, and five halvings of that are 0.0015."""
    image, label = torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, dtype=torch.long)
    attack = _Along(Linf(1.0), direction=1.0, shortest=2.0)
    search = SampleMargin(Linf(1.0), criterion=VoxelsFlipped(0.0), attack=attack, rtol=0.05)
    found = search(lambda x: torch.cat([x - 0.432, 0.432 - x], 1), image, label)
    assert 0.432 <= found.margin.item() <= 0.432 + 0.0015


def test_confirming_tells_true_margins_from_inflated_ones():
    model, image, label, _ = _case()
    label[1] = 1 - label[1]
    search = SampleMargin(Linf(10.0), criterion=DiceBelow(0.5), rtol=0.02)
    result = search(model, image, label)
    assert search.confirm(model, image, label, result).all()
    inflated = replace(result, margin=result.margin * 1.1)
    assert search.confirm(model, image, label, inflated).tolist() == [False, True, False, False]


def test_model_is_left_as_it_was_and_calls_are_counted():
    model, image, label = _net()
    before, calls = state_of(model), []
    handle = model.register_forward_hook(lambda *_: calls.append(1))
    result = SampleMargin(L2(5.0))(model, image, label)
    handle.remove()
    assert same_state(before, state_of(model))
    assert result.forward_calls == len(calls)
    assert 0 < result.backward_calls < result.forward_calls


def test_a_batch_equals_its_singles():
    model, image, label = _net()
    together = SampleMargin(Linf(0.5))(model, image, label)
    for i in range(4):
        alone = SampleMargin(Linf(0.5))(model, image[i : i + 1], label[i : i + 1])
        torch.testing.assert_close(alone.margin[0], together.margin[i], rtol=1e-3, atol=1e-5)


def test_ignored_voxels_are_the_same_for_criterion_and_attack():
    model, image, label, _ = _case(batch=2)
    label[:, 0, 0] = 255
    for arguments in (
        {"attack": PGD(L2(9.0), steps=5, objective=Dice(ignore_index=255))},
        {"criterion": DiceBelow(0.5, ignore_index=255)},
    ):
        assert (SampleMargin(L2(9.0), **arguments)(model, image, label).margin > 0).all()


@pytest.mark.parametrize("rtol", [0.0, 1e-8, 1.0])
def test_rtol_must_be_a_fraction(rtol):
    with pytest.raises(ValueError, match=r"rtol must be in \[0.0001, 1\)"):
        SampleMargin(L2(1.0), rtol=rtol)
