"""Smallest perturbations against closed forms on linear models, a quadratic program, and bisection."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.optimize import nnls

from imaseg import L2, PGD, DiceBelow, Linf, MinimumNorm, SampleMargin, VoxelsFlipped
from imaseg.objectives import Dice
from tests.attacks.models import LinearConvolution, LinearPerVoxel, trained_model

TINY = 1e-5  # one voxel of any case here
KINDS = {"l2": (L2, {}), "rms": (L2, {"unit": "rms"}), "linf": (Linf, {})}


def _random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _least(costs, wrong, kind, values):
    """Least size at which ceil(wrong * n) of n independent voxels are wrong, given what each voxel costs."""
    cheapest = costs.flatten().sort().values[: math.ceil(wrong * costs.numel() - 1e-9)]
    if kind == "linf":
        return float(cheapest[-1])
    return float(cheapest.norm()) / (math.sqrt(values) if kind == "rms" else 1.0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wrong", [TINY, 0.5, 0.99])
@pytest.mark.parametrize("regions", [False, True], ids=["softmax", "regions"])
def test_independent_voxels_cost_what_the_closed_form_says(kind, wrong, regions):
    linear = LinearPerVoxel(torch.tensor([3.0, -4.0]), bias=0.5)
    image = _random(4, 2, 6, 5)
    gap = linear.gap(image).detach()
    inside = gap > 0  # the background cannot be lost
    dual = 7.0 if kind == "linf" else 5.0
    exact = torch.tensor([_least(gap[i][inside[i]] / dual, wrong, kind, 60) for i in range(4)])
    make, unit = KINDS[kind]
    attack = MinimumNorm(make(3 * exact.max(), **unit), wrong=wrong)
    model = (lambda x: linear.gap(x)[:, None]) if regions else linear
    result = attack(model, image, inside[:, None] if regions else inside.long())
    assert result.success.all()
    assert (result.size >= exact * (1 - 1e-4)).all()
    assert (result.size <= exact * 1.01).all()
    lost = (linear.gap(result.image).detach() < 0) & inside
    assert (lost.flatten(1).sum(1) >= wrong * inside.flatten(1).sum(1) - 1e-6).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(9, 8), (5, 6, 5)])
def test_the_first_voxel_of_a_shared_kernel_costs_its_gap_over_the_dual_norm(kind, shape):
    """Neighbours overlap; voxels at the border, whose kernels are cut, are ignored."""
    dims = len(shape)
    model = LinearConvolution(_random(1, 1, *[3] * dims, seed=1), bias=0.3)
    image = _random(4, 1, *shape)
    gap = model.gap(image).detach()
    label = torch.full(gap.shape, -1)
    inner = (slice(None), *[slice(1, -1)] * dims)
    label[inner] = (gap[inner] > 0).long()
    order = 1.0 if kind == "linf" else 2.0
    dual = model.dual(image, order)[0][tuple(size // 2 for size in shape)]
    torch.testing.assert_close(dual.detach(), torch.linalg.vector_norm(model.weight.flatten(), order).detach())
    exact = torch.stack([gap[i][label[i] == 1].min() for i in range(4)]) / dual.detach()
    exact = exact / (math.sqrt(image[0].numel()) if kind == "rms" else 1.0)
    make, unit = KINDS[kind]
    result = MinimumNorm(make(5 * exact.max(), **unit), wrong=TINY)(model, image, label)
    assert result.success.all()
    assert (result.size >= exact * (1 - 1e-4)).all()
    assert (result.size <= exact * 1.01).all()


def _least_norm(matrix, gap):
    """min ||d|| subject to gap + matrix d <= 0: least distance programming by nonnegative least squares."""
    stacked = torch.cat([-matrix.T, gap[None]]).numpy()
    aim = torch.zeros(len(stacked), dtype=torch.float64).numpy()
    aim[-1] = 1.0
    rest = stacked @ nnls(stacked, aim)[0] - aim
    change = torch.from_numpy(-rest[:-1] / rest[-1])
    assert (gap + matrix @ change).max() < 1e-8
    return float(change.norm())


@pytest.mark.parametrize(("shape", "slack"), [((5, 4), 0.02), ((7, 7), 0.1)])
def test_all_voxels_of_a_shared_kernel_cost_what_a_quadratic_program_says(shape, slack):
    """What turns one voxel may turn another one back, so that the sum of single costs says nothing."""
    # 200 steps blow even the rounding of doubles up: by processor the search ends up to 7 percent above the program.
    model = LinearConvolution(_random(1, 1, 3, 3, seed=1).double(), bias=0.3)
    image = _random(3, 1, *shape).double()
    gap = model.gap(image).detach()
    impulses = torch.eye(math.prod(shape), dtype=torch.float64).view(-1, 1, *shape)
    matrix = (model.gap(impulses) - 0.3).detach().flatten(1).T
    inside = gap > 0
    exact = [_least_norm(matrix[inside[i].flatten()], gap[i][inside[i]]) for i in range(3)]
    exact = torch.tensor(exact, dtype=torch.float64)
    result = MinimumNorm(L2(3 * exact.max()), wrong=1.0)(model, image, inside.long())
    assert result.success.all()
    assert (result.size >= exact * (1 - 1e-4)).all()
    assert (result.size <= exact * (1 + slack)).all()


def _cost_within(bounds, weight, value, gap, kind):
    """Least change of one voxel's channels within bounds that brings its gap to 0, by bisection; inf if none does."""
    room = torch.stack([bounds[0] - value, bounds[1] - value])
    towards = -weight.sign()

    def change(t):
        steps = t * (towards if kind == "linf" else -weight)
        return steps.clamp(room[0], room[1])

    low, high = 0.0, 1e3
    if gap + float(weight @ change(high)) > 0:
        return math.inf
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (low, middle) if gap + float(weight @ change(middle)) <= 0 else (middle, high)
    return high if kind == "linf" else float(change(high).norm())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wrong", [TINY, 0.5])
def test_bounds_that_bind_are_allowed_for(kind, wrong):
    weight, bounds = torch.tensor([3.0, -4.0]), (-0.7, 0.7)
    model = LinearPerVoxel(weight, bias=0.5)
    image = _random(3, 2, 6, 5).clamp(-0.65, 0.65)
    gap = model.gap(image).detach()
    inside = gap > 0
    costs, free = [], []
    for i in range(3):
        places = inside[i].nonzero().tolist()
        costs.append(
            torch.tensor(
                [_cost_within(bounds, weight, image[i, :, a, b], float(gap[i, a, b]), kind) for a, b in places]
            )
        )
        free.append(_least(gap[i][inside[i]] / (7.0 if kind == "linf" else 5.0), wrong, kind, 60))
    exact = torch.tensor([_least(one, wrong, kind, 60) for one in costs])
    assert torch.isfinite(exact).all()
    if wrong == 0.5:
        assert (exact / torch.tensor(free)).amax() > 1.05, "the case is meant to have bounds that bind"
    make, unit = KINDS[kind]
    result = MinimumNorm(make(3 * exact.max(), bounds=bounds, **unit), wrong=wrong)(model, image, inside.long())
    assert result.success.all()
    assert result.image.abs().max() <= 0.7
    assert (result.size >= exact * (1 - 1e-4)).all()
    assert (result.size <= exact * 1.015).all()


def test_a_criterion_of_the_caller_s_rules_instead():
    """Any voxel, background too: in Linf all of them move at once, so that the nearest one is the first to flip."""
    model = LinearPerVoxel(torch.tensor([3.0, -4.0]), bias=0.5)
    image = _random(4, 2, 6, 5)
    gap = model.gap(image).detach()
    exact = gap.abs().flatten(1).amin(1) / 7.0
    result = MinimumNorm(Linf(2.0), steps=100)(model, image, torch.ones_like(gap).long(), criterion=VoxelsFlipped(0.0))
    right = gap > 0
    exact = torch.where(right, gap, torch.inf).flatten(1).amin(1) / 7.0
    assert result.success.all()
    assert (result.size >= exact * (1 - 1e-4)).all()
    assert (result.size <= exact * 1.01).all()


@pytest.mark.parametrize("kind", [L2, Linf])
@pytest.mark.parametrize("criterion", [DiceBelow(0.5), VoxelsFlipped(0.0), VoxelsFlipped(0.1)])
def test_with_a_fitting_objective_it_finds_margins_as_small_as_those_of_bisection(kind, criterion):
    model, image, label = trained_model()
    budget = kind(8.0) if kind is L2 else kind(0.8)
    bisected = SampleMargin(budget, criterion=criterion, attack=PGD(budget, steps=10))(model, image, label)
    result = MinimumNorm(budget, steps=60, objective=Dice())(model, image, label, criterion=criterion)
    assert result.success.all()
    assert not bisected.censored.any()
    with torch.no_grad():
        assert criterion(model(result.image), label, model(image)).all()
    assert (result.size / bisected.margin).mean() < 1.05


def test_what_is_not_found_within_eps_is_not_met():
    model = LinearPerVoxel(torch.tensor([3.0, -4.0]), bias=0.5)
    image = _random(4, 2, 6, 5)
    gap = model.gap(image).detach()
    exact = gap.where(gap > 0, -torch.inf).flatten(1).amax(1) / 7.0  # the last voxel of each case
    radii = exact * torch.tensor([0.98, 1.02, 0.5, 1.5])
    result = MinimumNorm(Linf(radii), wrong=1.0)(model, image, (gap > 0).long())
    assert result.success.tolist() == [False, True, False, True]
    assert (result.size <= radii * (1 + 1e-6)).all()
    assert (result.foreground_dice < result.foreground_dice_clean).all()


def test_a_case_without_foreground_has_nothing_to_lose():
    model, image, label = trained_model()
    label[:4] = 0
    with torch.no_grad():
        model[4].bias[0] += 3.0
    result = MinimumNorm(L2(8.0), steps=40)(model, image, label)
    assert not result.success[:4].any()
    assert result.success[4:].all()
    alone = MinimumNorm(L2(8.0), steps=10)(model, image[:4] * 0 - 3, label[:4])
    assert not alone.success.any()
    assert (alone.foreground_dice_clean == 1).all()


def test_a_case_that_is_wrong_already_costs_nothing():
    model = LinearPerVoxel(torch.tensor([1.0]))
    image = torch.full((2, 1, 3, 3), 2.0)
    label = torch.ones(2, 3, 3).long()
    image[0] = -2.0
    result = MinimumNorm(Linf(5.0), wrong=1.0)(model, image, label)
    assert result.success.all()
    assert result.size[0] == 0
    assert torch.equal(result.image[0], image[0])
    assert result.size[1].item() == pytest.approx(2.0, rel=1e-3)


def test_a_single_voxel_needs_to_be_wrong_however_small_the_share():
    model = LinearPerVoxel(torch.tensor([1.0]))
    result = MinimumNorm(L2(5.0), wrong=1e-6)(model, torch.full((1, 1, 1, 1), 2.0), torch.ones(1, 1, 1).long())
    assert result.size.item() == pytest.approx(2.0, rel=1e-3)


def test_ignored_voxels_need_not_be_wrong():
    model = LinearPerVoxel(torch.tensor([1.0]))
    image = torch.tensor([1.0, 2.0, 9.0]).view(1, 1, 1, 3)
    result = MinimumNorm(Linf(20.0), wrong=1.0)(model, image, torch.tensor([[[1, 1, -1]]]))
    assert result.size.item() == pytest.approx(2.0, rel=1e-3)


@pytest.mark.parametrize("scale", [1000, 0.001])
def test_the_scale_of_the_logits_changes_nothing(scale):
    model, image, label = trained_model()
    usual = MinimumNorm(L2(8.0), steps=60)(model, image, label)
    scaled = MinimumNorm(L2(8.0), steps=60)(lambda x: scale * model(x), image, label)
    torch.testing.assert_close(scaled.size, usual.size, rtol=0.05, atol=0)


@pytest.mark.parametrize("restarts", [1, 3])
def test_passes_are_as_announced(restarts):
    model, image, label = trained_model()
    calls = []
    model.register_forward_hook(lambda *_: calls.append(1))
    result = MinimumNorm(L2(8.0), steps=12, restarts=restarts)(model, image, label)
    assert (result.backward_calls, result.forward_calls) == (12 * restarts, 19 * restarts + 8)
    assert len(calls) == result.forward_calls


def test_more_restarts_never_enlarge_the_result():
    model, image, label = trained_model()
    once, thrice = (MinimumNorm(L2(8.0), steps=25, restarts=n)(model, image, label) for n in (1, 3))
    assert once.success.all()
    assert (thrice.size <= once.size * (1 + 2**-7)).all()


@pytest.mark.parametrize("wrong", [0.0, -0.5, 1.01, float("nan")])
def test_wrong_must_be_a_share(wrong):
    with pytest.raises(ValueError, match=rf"wrong must be in \(0, 1\], got {wrong}. Use 0.99"):
        MinimumNorm(L2(1.0), wrong=wrong)


@pytest.mark.parametrize("kind", [L2, Linf])
def test_a_short_search_gets_by_with_a_ceiling_far_too_high(kind):
    model, image, label = trained_model()
    high = 100.0 if kind is L2 else 10.0
    short = MinimumNorm(kind(high), steps=20)(model, image, label)
    long = MinimumNorm(kind(high), steps=200)(model, image, label)
    assert short.success.all()
    assert (short.size / long.size).median() < 1.15
