"""Voxel margins: closed forms and programs on linear models, replay of every margin, and what a map promises."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq, linprog

from imaseg import L2, PGD, BiasField, Deformation, Frequency, Gamma, Linf, SampleMargin, VoxelsFlipped
from imaseg.attacks import MinimumNorm, WorstCase
from imaseg.margins.voxel import VoxelMargin
from imaseg.objectives import MaskedCE
from imaseg.scores import decide
from tests.attacks.models import LinearConvolution, LinearPerVoxel, messy_model, same_state, state_of, trained_model

EVERY = 10_000  # a focus on each voxel by itself


def _linear(kind="shared", dims=2, seed=0, batch=1, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    size = (4, 3) if dims == 2 else (3, 3, 2)
    image = torch.randn(batch, 2, *size, generator=generator)
    if kind == "shared":
        model = LinearConvolution(torch.randn(1, 2, *[3] * dims, generator=generator), bias=0.3)
    else:
        model = LinearPerVoxel(torch.tensor([1.0, -2.0]), bias=0.1)
    model, image = model.to(dtype), image.to(dtype)
    with torch.no_grad():
        label = (model.gap(image) > 0).long()
    return model, image, label


def _rows(model, image):
    """Gap of each voxel, positive where right, and the row of weights that moves it, in NumPy."""
    rows = torch.autograd.functional.jacobian(lambda one: model.gap(one).flatten(), image[:1])
    gap = model.gap(image[:1]).detach().flatten().numpy().astype(float)
    return abs(gap), -rows.flatten(1).numpy().astype(float) * np.sign(gap)[:, None]


def _smallest(kind, gap, row, fall, rise):
    """Smallest size of a change within [fall, rise] that gains `gap` along `row`; infinite where there is none."""
    if np.maximum(row * rise, row * fall).sum() <= gap:
        return np.inf
    if kind is L2:
        gain = lambda t: (row * np.clip(t * row, fall, rise)).sum() - gap  # noqa: E731
        far = 1.0
        while gain(far) < 0:
            far *= 2
        return np.linalg.norm(np.clip(brentq(gain, 0, far) * row, fall, rise))
    number = len(row)
    ones = np.ones((number, 1))
    inside = np.block([[np.eye(number), -ones], [-np.eye(number), -ones], [-row, np.zeros(1)]])
    limits = np.append(np.zeros(2 * number), -gap)
    box = [*zip(fall, rise, strict=True), (0, None)]
    return linprog(np.append(np.zeros(number), 1), inside, limits, bounds=box).fun


def _exact(perturbation, **arguments):
    return VoxelMargin(perturbation, focus=EVERY, rtol=0.005, **{"rungs": 2, **arguments})


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("kind", ["per voxel", "shared"])
@pytest.mark.parametrize(("perturbation", "order"), [(L2, 2), (Linf, 1)])
def test_linear_models_have_the_closed_form_within_one_percent(perturbation, order, kind, dims, dtype):
    model, image, label = _linear(kind, dims, dtype=dtype)
    gap, rows = _rows(model, image)
    result = _exact(perturbation(30.0))(model, image, label)
    dual = np.linalg.norm(rows, order, axis=1)
    np.testing.assert_allclose(result.margin.flatten(), gap / dual, rtol=0.01)
    assert not result.censored.any()
    assert result.right.all()
    assert result.margin.dtype == torch.float32


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("kind", ["per voxel", "shared"])
@pytest.mark.parametrize("perturbation", [L2, Linf])
def test_bounds_count_as_the_programs_say(perturbation, kind, dims):
    model, image, label = _linear(kind, dims, seed=3)
    image = image.clamp(-1, 1.2)
    label = (model.gap(image) > 0).long()
    gap, rows = _rows(model, image)
    values = image.flatten().numpy().astype(float)
    # -1.05 leaves the lowest values little room below.
    room = (np.minimum(-1.05 - values, 0), np.maximum(1.25 - values, 0))
    expected = np.array([_smallest(perturbation, g, row, *room) for g, row in zip(gap, rows, strict=True)])
    result = _exact(perturbation(5.0, bounds=(-1.05, 1.25)))(model, image, label)
    within = expected < 4.9
    assert (expected[within] > gap[within] / np.linalg.norm(rows[within], 2 if perturbation is L2 else 1, axis=1)).any()
    np.testing.assert_allclose(result.margin.flatten()[within], expected[within], rtol=0.02)
    assert result.censored.flatten()[expected > 5.1].all()


def test_rms_is_the_norm_over_the_root_of_the_number_of_values():
    model, image, label = _linear()
    in_norm = _exact(L2(30.0))(model, image, label).margin
    in_rms = _exact(L2(30.0 / 24**0.5, unit="rms"))(model, image, label).margin
    torch.testing.assert_close(in_rms * 24**0.5, in_norm, rtol=0.01, atol=0)


@pytest.mark.parametrize(("perturbation", "order"), [(L2, 2), (Linf, 1)])
def test_only_the_region_may_pay(perturbation, order):
    model, image, label = _linear()
    region = torch.zeros(1, 1, 4, 3, dtype=torch.bool)
    region[..., :2, :] = True
    gap, rows = _rows(model, image)
    rows = rows * region.expand(1, 2, 4, 3).flatten().numpy()
    dual = np.linalg.norm(rows, order, axis=1)
    result = _exact(perturbation(30.0, region=region))(model, image, label)
    reached = (dual > 0) & (gap / dual.clip(1e-9) < 29)
    np.testing.assert_allclose(result.margin.flatten()[reached], (gap[reached] / dual[reached]), rtol=0.01)
    assert result.censored.flatten()[dual == 0].all()


def _channels(classes, seed=0):
    """A linear model with several logits per voxel, its image, and the rows (classes, channels)."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(classes, 3, generator=generator)
    image = torch.randn(1, 3, 4, 3, generator=generator)
    return (lambda one: torch.einsum("kc,bc...->bk...", weight, one)), image, weight


@pytest.mark.parametrize(("perturbation", "order"), [(L2, 2), (Linf, 1)])
def test_the_nearest_of_several_classes_counts_not_the_runner_up(perturbation, order):
    model, image, weight = _channels(4)
    logits = model(image)
    label = logits.argmax(1)
    gaps = (logits.amax(1, keepdim=True) - logits)[0].flatten(1)
    duals = torch.linalg.vector_norm(weight[label.flatten()] - weight[:, None], order, dim=2)
    each = (gaps / duals).masked_fill(duals == 0, torch.inf)
    others = gaps.masked_fill(duals == 0, torch.inf)
    assert (each.argmin(0) != others.argmin(0)).any()
    result = _exact(perturbation(9.0))(model, image, label)
    torch.testing.assert_close(result.margin.flatten(), each.amin(0), rtol=0.01, atol=0)


@pytest.mark.parametrize(("perturbation", "order"), [(L2, 2), (Linf, 1)])
def test_a_voxel_of_regions_flips_with_its_first_channel(perturbation, order):
    model, image, weight = _channels(3)
    logits = model(image)
    label = logits > 0
    label[0, 1, 0, 0] = ~label[0, 1, 0, 0]  # one wrong channel makes the voxel wrong
    each = logits.abs()[0].flatten(1) / torch.linalg.vector_norm(weight, order, dim=1)[:, None]
    result = _exact(perturbation(9.0))(model, image, label)
    torch.testing.assert_close(result.margin.flatten()[1:], each.amin(0)[1:], rtol=0.01, atol=0)
    assert not result.right[0, 0, 0]
    assert result.margin[0, 0, 0] == 0


def test_a_classifier_has_one_voxel():
    weight = torch.tensor([[1.0, 2.0], [-1.0, 0.0], [0.0, 3.0]])
    image = torch.tensor([[3.0, 1.0], [-2.0, 0.5]])
    label = torch.tensor([0, 1])
    result = _exact(Linf(9.0))(lambda one: one @ weight.T, image, label)
    # From class 0: gaps 8 and 2, weights 2 + 2 and 1 + 1. From class 1: gaps 3 and 0.5, 2 + 2 and 1 + 3.
    torch.testing.assert_close(result.margin, torch.tensor([1.0, 0.125]), rtol=0.01, atol=0)


def test_gamma_margins_are_those_of_the_curve():
    # t^g = 0.4 at the boundary, g = 1 + p or 1 / (1 - p): the size is |p|.
    image = torch.tensor([0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0, 0.45]).view(1, 1, 2, 4)
    exponent = (torch.log(torch.tensor(0.4)) / image.flatten()[1:6].log()).double()
    size = torch.maximum(exponent, 1 / exponent).float() - 1
    result = _exact(Gamma(20.0))(lambda x: torch.cat([0.4 - x, x - 0.4], 1), image, (image[:, 0] > 0.4).long())
    torch.testing.assert_close(result.margin.flatten()[1:6], size, rtol=0.02, atol=0)
    assert result.censored.flatten()[[0, 6]].all()  # lowest and highest value never move


def test_a_bias_field_flips_each_voxel_at_its_own_factor():
    image = torch.tensor([0.0, 0.5, 0.8, 1.1, 1.5, 2.0]).view(1, 1, 2, 3)
    factor = 1 / image.flatten()[1:]
    result = _exact(BiasField(5.0))(lambda x: torch.cat([1 - x, x - 1], 1), image, (image[:, 0] > 1).long())
    torch.testing.assert_close(result.margin.flatten()[1:], torch.maximum(factor, 1 / factor) - 1, rtol=0.02, atol=0)


def test_a_label_that_moves_along_is_not_flipped_by_a_deformation():
    # Constant along one axis: interpolation crosses one half exactly where the nearest voxel changes.
    label = torch.zeros(1, 12, 12, dtype=torch.long)
    label[:, 3:8] = 1
    image = label[:, None].float()
    result = VoxelMargin(Deformation(2.0), rungs=4, focus=20)(lambda x: torch.cat([0.5 - x, x - 0.5], 1), image, label)
    assert result.censored.all()


@pytest.mark.parametrize("perturbation", [Deformation(2.0), Frequency(40.0)], ids=lambda one: one.name)
def test_every_set_has_a_map(perturbation):
    model, image, label = trained_model()
    result = VoxelMargin(perturbation, rungs=6, focus=12)(model, image[:1], label[:1])
    flipped = result.right & ~result.censored
    assert flipped.any()
    assert (result.margin[flipped] > 0).all()
    assert (result.margin <= perturbation.eps).all()


@pytest.mark.parametrize(
    "perturbation", [L2(6.0), Linf(0.6), Linf(0.6, bounds=(-1.5, 2.5))], ids=["l2", "linf", "bounds"]
)
def test_each_margin_is_the_smallest_evaluated_change_that_flips_the_voxel(perturbation):
    model, image, label = trained_model()
    image, label = image[:1].clamp(-1.5, 2.5), label[:1]
    seen = []

    def spied(one):
        seen.append(one.detach().clone())
        return model(one)

    result = VoxelMargin(perturbation, rungs=6, focus=30)(spied, image, label)
    points = torch.cat(seen)
    size = perturbation.size(points - image)
    with torch.no_grad():
        wrong = model(points).argmax(1) != label
    smallest = torch.where(wrong, size[:, None, None], torch.inf).amin(0)
    assert (size <= perturbation.eps * 1.0001).all()
    flipped = result.right[0] & ~result.censored[0]
    torch.testing.assert_close(result.margin[0][flipped], smallest[flipped], rtol=1e-4, atol=1e-6)
    assert torch.isinf(smallest[result.censored[0]]).all()
    assert 0 < flipped.sum() < flipped.numel()


@pytest.mark.parametrize("seed", [0, 1, 3])
@pytest.mark.parametrize("kind", [L2, Linf])
def test_the_sample_margin_of_any_voxel_is_the_smallest_voxel_margin(kind, seed):
    model, image, label = _linear("shared", 2, seed)
    voxels = _exact(kind(30.0))(model, image, label).margin
    sample = SampleMargin(kind(30.0), criterion=VoxelsFlipped(0.0), rtol=0.01)(model, image, label).margin
    torch.testing.assert_close(sample, voxels.flatten(1).amin(1), rtol=0.02, atol=0)


@given(scale=st.floats(0.1, 10), steepness=st.floats(0.1, 10), seed=st.integers(0, 20))
@settings(max_examples=10, deadline=None)
def test_margins_scale_with_the_image_and_not_with_the_logits(scale, steepness, seed):
    model, image, label = _linear("shared", 2, seed)
    usual = _exact(L2(20.0))(model, image, label).margin
    other = LinearConvolution(model.weight.detach() * steepness / scale, bias=model.bias * steepness)
    scaled = _exact(L2(20.0 * scale))(other, image * scale, label).margin
    torch.testing.assert_close(scaled, usual * scale, rtol=0.02, atol=0)


@given(eps=st.floats(0.02, 2.0), seed=st.integers(0, 20))
@settings(max_examples=10, deadline=None)
def test_a_larger_budget_raises_no_margin_that_was_found(eps, seed):
    model, image, label = _linear("shared", 2, seed)
    small, large = (_exact(Linf(one))(model, image, label) for one in (eps, 1.7 * eps))
    assert (small.margin <= eps * (1 + 1e-6)).all()
    assert (small.margin[small.censored] == torch.tensor(eps)).all()
    found = ~small.censored
    assert (large.margin[found] <= small.margin[found] * 1.02).all()
    assert (large.margin[~found] >= eps * 0.99).all()


@pytest.mark.parametrize("kind", [L2, Linf])
def test_the_sweep_alone_is_an_upper_bound_that_focus_lowers(kind):
    model, image, label = trained_model()
    budget = kind(3.0 if kind is L2 else 0.5)
    sweep = VoxelMargin(budget, rungs=8, focus=0)(model, image[:2], label[:2])
    focused = VoxelMargin(budget, rungs=8, focus=40)(model, image[:2], label[:2])
    assert (focused.margin <= sweep.margin).all()
    assert focused.margin[focused.right].median() < 0.9 * sweep.margin[sweep.right].median()


def test_the_sweep_alone_is_near_the_closed_form_where_voxels_do_not_compete():
    model, image, label = _linear("per voxel")
    gap, rows = _rows(model, image)
    result = VoxelMargin(Linf(2.0), focus=0)(model, image, label)
    ratio = result.margin.flatten().numpy() / (gap / abs(rows).sum(1))
    assert ratio.min() > 0.999
    assert ratio.max() < 1.35


@pytest.mark.parametrize("focus", [0, 20])
def test_a_batch_equals_its_singles(focus):
    model, image, label = _linear("shared", 2, batch=3)
    margin = VoxelMargin(L2(torch.tensor([0.3, 1.0, 20.0]), bounds=(-4.0, 4.0)), rungs=5, focus=focus)
    together = margin(model, image, label)
    for one, eps in enumerate((0.3, 1.0, 20.0)):
        alone = VoxelMargin(L2(eps, bounds=(-4.0, 4.0)), rungs=5, focus=focus)(
            model, image[one : one + 1], label[one : one + 1]
        )
        torch.testing.assert_close(together.margin[one], alone.margin[0], rtol=1e-3, atol=1e-6)
        assert torch.equal(together.censored[one], alone.censored[0])


@pytest.mark.parametrize("batch_size", [1, 5])
def test_the_result_does_not_depend_on_the_copies_at_once(batch_size):
    model, image, label = _linear()
    usual = _exact(Linf(9.0))(model, image, label).margin
    torch.testing.assert_close(_exact(Linf(9.0), batch_size=batch_size)(model, image, label).margin, usual)


def test_wrong_and_ignored_voxels_have_no_margin():
    model, image, label = _linear()
    label[0, 0, 0] = 1 - label[0, 0, 0]
    label[0, 1, 1] = -1
    label[0, 2, 2] = 255
    for arguments in ({"ignore_index": 255}, {"attack": PGD(L2(1.0), objective=MaskedCE(ignore_index=255))}):
        result = _exact(L2(30.0), **arguments)(model, image, label)
        out = torch.zeros(1, 4, 3, dtype=torch.bool)
        out[0, [0, 1, 2], [0, 1, 2]] = True
        assert torch.equal(result.right, ~out)
        assert (result.margin[out] == 0).all()
        assert not result.censored[out].any()
        assert (result.margin[~out] > 0).all()


@pytest.mark.parametrize("method", ["attack", "gradient"])
def test_nothing_right_is_a_map_of_zeros(method):
    model, image, label = _linear()
    result = VoxelMargin(L2(3.0), method=method, rungs=2, focus=5)(model, image, 1 - label)
    assert not result.right.any()
    assert not result.margin.any()
    assert not result.censored.any()


@pytest.mark.parametrize("kind", [L2, Linf])
def test_without_a_budget_every_voxel_is_censored_at_zero(kind):
    model, image, label = _linear()
    result = VoxelMargin(kind(0.0), rungs=2, focus=5)(model, image, label)
    assert result.censored.all()
    assert not result.margin.any()


def test_the_model_is_left_as_it_was_and_calls_are_counted():
    model = messy_model(2, channels=1, classes=3)
    image = torch.randn(2, 1, 10, 10, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        label = model.eval()(image).argmax(1)
    model.train()
    before, calls, random = state_of(model), [], torch.get_rng_state()
    handle = model.register_forward_hook(lambda *_: calls.append(1))
    result = VoxelMargin(L2(5.0), rungs=3, focus=10)(model, image, label)
    handle.remove()
    assert same_state(before, state_of(model))
    assert torch.equal(random, torch.get_rng_state())
    assert result.forward_calls == len(calls)
    assert 0 < result.backward_calls < result.forward_calls


def test_undefined_gradients_leave_finite_maps():
    def model(one):
        gap = one[:, 0] + (one[:, 0] * 0).sqrt()  # the gradient of sqrt at 0 is infinite, times 0 undefined
        return torch.stack([-gap, gap], 1)

    image = torch.ones(1, 1, 3, 3)
    result = VoxelMargin(Linf(3.0), rungs=3, focus=9)(model, image, torch.ones(1, 3, 3, dtype=torch.long))
    assert torch.isfinite(result.margin).all()


def test_any_attack_with_a_fixed_budget_may_climb_the_ladder():
    model, image, label = _linear("per voxel")
    gap, rows = _rows(model, image)
    worst = WorstCase(Linf(1.0), members=[{"name": "pgd", "objective": "masked-ce", "steps": 3}, {"name": "fgsm"}])
    result = VoxelMargin(Linf(2.0), attack=worst, focus=0)(model, image, label)
    assert (result.margin.flatten().numpy() > 0.999 * gap / abs(rows).sum(1)).all()
    assert result.censored.float().mean() < 0.5


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"method": "guess"}, "method must be 'attack' or 'gradient', got 'guess'"),
        ({"rungs": 0}, "rungs must be a whole number >= 1, got 0"),
        ({"focus": -1}, "focus must be a whole number >= 0, got -1"),
        ({"steps": 1}, "steps must be a whole number >= 2, got 1"),
        ({"batch_size": 0}, "batch_size must be a whole number >= 1, got 0"),
        ({"draws": 2.5}, "draws must be a whole number >= 1, got 2.5"),
        ({"rtol": 0.0}, r"rtol must be in \(0, 1\), got 0.0"),
        ({"attack": MinimumNorm(L2(1.0))}, "attack must search at a fixed budget, got minimum-norm"),
    ],
)
def test_nonsense_is_refused(arguments, text):
    with pytest.raises(ValueError, match=text):
        VoxelMargin(L2(1.0), **arguments)


def test_images_that_do_not_fit_are_refused():
    model, image, label = _linear()
    with pytest.raises(ValueError, match="image must be floating"):
        VoxelMargin(L2(1.0))(model, image.long(), label)
    with pytest.raises(ValueError, match="image must lie within bounds"):
        VoxelMargin(L2(1.0, bounds=(0.0, 1.0)), method="gradient")(model, image, label)


def test_decisions_are_those_of_the_criteria():
    # A tie counts for the first class, as in the hard Dice: no change at all is needed to keep it there.
    logits = torch.tensor([[[1.0], [1.0]]])
    assert decide(logits, regions=False)[0, :, 0].tolist() == [True, False]
    result = VoxelMargin(Linf(1.0), rungs=2, focus=1, rtol=0.01)(
        lambda x: torch.cat([x, 1 + 0 * x], 1), torch.ones(1, 1, 1), torch.zeros(1, 1, dtype=torch.long)
    )
    assert result.right.all()
    assert result.margin.item() < 0.01
