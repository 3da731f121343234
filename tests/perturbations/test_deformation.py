"""Deformations against scipy; no folds at any allowed size; labels that move with their image."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import BSpline
from scipy.ndimage import gaussian_filter, map_coordinates

from imaseg.attacks import PGD
from imaseg.perturbations import Deformation
from imaseg.perturbations.bspline import evaluate
from tests.attacks.models import messy_model

LIMIT = {2: 0.626, 3: 0.604}
shapes = pytest.mark.parametrize("shape", [(9, 8), (6, 5, 4)], ids=["2d", "3d"])


def _image(shape, dtype=torch.float64):
    return torch.randn(3, 2, *shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


def _inside(perturbation, image, seed=1):
    return perturbation.init(image, torch.Generator().manual_seed(seed))


def _by_scipy(image, shift, order):
    """Every channel of image (B, C, *spatial) taken from where shift (B, d, *spatial), in voxels, points."""
    places = np.stack(np.meshgrid(*map(np.arange, image.shape[2:]), indexing="ij")) + shift.numpy()
    found = np.empty(image.shape)
    for b, c in np.ndindex(*image.shape[:2]):
        found[b, c] = map_coordinates(image[b, c].numpy(), places[b], order=order, mode="nearest")
    return torch.from_numpy(found)


@pytest.mark.parametrize(
    ("shape", "spacing"), [((9, 8), (3.0, 1.0)), ((6, 5, 4), (0.5, 1.0, 2.0)), ((7, 1), (1.0, 1.0))]
)
def test_equal_control_points_shift_the_image_by_their_millimetres(shape, spacing):
    image = _image(shape)
    perturbation = Deformation(1.5, spacing=spacing)
    length = torch.tensor([1.0, -0.7, 0.3], dtype=torch.float64)[: len(shape)].view(1, -1, *[1] * len(shape))
    shift = (length / torch.tensor(spacing).view(length.shape)).expand(3, -1, *shape)
    params = length.expand_as(perturbation.zeros(image))
    torch.testing.assert_close(perturbation.apply(image, params), _by_scipy(image, shift, order=1))
    torch.testing.assert_close(perturbation.move(image, params, nearest=True), _by_scipy(image, shift, order=0))


@shapes
def test_a_random_field_moves_the_image_as_scipy_does_and_keeps_to_eps(shape):
    image = _image(shape)
    perturbation = Deformation(torch.tensor([0.5, 1.0, 2.0]), control_spacing=4.0)
    params = perturbation.project(image, _inside(perturbation, image) * 9)
    shift = evaluate(params, shape, [4.0] * len(shape))
    assert (shift.norm(dim=1).flatten(1).amax(1) <= perturbation.eps + 1e-6).all()
    torch.testing.assert_close(perturbation.apply(image, params), _by_scipy(image, shift, order=1))


@shapes
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("grad", [False, True])
def test_no_change_is_exact(shape, dtype, grad):
    image = _image(shape, dtype)
    params = Deformation(0.0).project(image, torch.randn_like(Deformation(0.0).zeros(image))).requires_grad_(grad)
    perturbation = Deformation(2.0)
    for moved in (
        perturbation.apply(image, params),
        perturbation.move(image, params, nearest=True),
        perturbation.move(image, params, nearest=False),
    ):
        assert torch.equal(moved, image)
        assert moved.dtype == params.dtype == dtype


def test_the_gradient_where_nothing_moves_is_that_of_a_ramp():
    slope = torch.tensor([2.0, -3.0], dtype=torch.float64)
    image = (torch.arange(9.0).double()[:, None] * slope[0] + torch.arange(8.0).double() * slope[1]).view(1, 1, 9, 8)
    weight = torch.zeros_like(image)
    weight[..., 1:-1, 1:-1] = torch.randn(7, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    perturbation = Deformation(1.0, control_spacing=3.0)
    params = perturbation.zeros(image).requires_grad_()
    (found,) = torch.autograd.grad((perturbation.apply(image, params) * weight).sum(), params)
    shift = evaluate(params, (9, 8), [3.0, 3.0])
    (expected,) = torch.autograd.grad((shift * slope.view(1, 2, 1, 1) * weight).sum(), params)
    torch.testing.assert_close(found, expected)


@shapes
def test_gradients_are_exact(shape):
    image = _image(shape)[:1]
    perturbation = Deformation(1.0, spacing=(0.9, 1.3, 1.1)[: len(shape)], control_spacing=4.0)
    params = _inside(perturbation, image).requires_grad_()
    assert torch.autograd.gradcheck(lambda p: perturbation.apply(image, p), params, eps=1e-7, atol=1e-5)


def _weights(places, points, derivative):
    """Weight of each control point at places counted in control spacings, (len(places), points)."""
    spline = BSpline(np.arange(points + 4) - 3, np.eye(points), 3)
    return (spline.derivative() if derivative else spline)(places)


def _gradient_weights(places, points, dims):
    """Gradient of each control point's weight on the grid of places: (dims, places ** dims, points ** dims)."""
    found = []
    for axis in range(dims):
        whole = np.ones((1, 1))
        for k in range(dims):
            whole = np.kron(whole, _weights(places, points, derivative=k == axis))
        found.append(whole)
    return np.stack(found)


def _steepest(control, gradients):
    """Largest factor by which a displacement changes distances; folds need 1."""
    return np.linalg.norm(np.einsum("cp,anp->nca", control, gradients), 2, axis=(1, 2)).max()


@pytest.mark.parametrize("dims", [2, 3])
@given(seed=st.integers(0, 2**32 - 1), corners=st.booleans())
@settings(max_examples=20, deadline=None)
def test_no_allowed_deformation_folds(dims, seed, corners):
    gradients = _gradient_weights(np.linspace(0, 2, 33 if dims == 2 else 9), 5, dims)
    control = np.random.default_rng(seed).standard_normal((dims, 5**dims))
    control = np.sign(control) if corners else control
    control *= LIMIT[dims] / np.linalg.norm(control, axis=0)
    assert _steepest(control, gradients) < 1


@pytest.mark.parametrize("dims", [2, 3])
@given(seed=st.integers(0, 2**32 - 1), along=st.booleans())
@settings(max_examples=20, deadline=None)
def test_not_even_the_worst_one_folds(dims, seed, along):
    rng = np.random.default_rng(seed)
    gradients = _gradient_weights(np.linspace(0, 1, 17 if dims == 2 else 9), 4, dims)
    direction = np.eye(dims)[rng.integers(dims)] if along else rng.standard_normal(dims)
    direction /= np.linalg.norm(direction)
    place = gradients.shape[1] // 2 if along else rng.integers(gradients.shape[1])
    # Every control point pushes against the direction as hard as it may.
    slope = np.einsum("ap,a->p", gradients[:, place], direction)
    control = -LIMIT[dims] * direction[:, None] * np.sign(slope)
    determinants = np.linalg.det(np.eye(dims) + np.einsum("cp,anp->nca", control, gradients))
    assert determinants.min() > 0
    assert _steepest(control, gradients) < 1
    if along:
        assert determinants.min() < 0.1


@shapes
def test_labels_move_with_their_image(shape):
    shape = tuple(4 * size for size in shape)
    image = torch.from_numpy(gaussian_filter(_image(shape).numpy(), [0, 0, *[2.0] * len(shape)]))
    perturbation = Deformation(3.0)
    params = _inside(perturbation, image)
    label = (image > 0).double()
    moved = perturbation.move(label, params, nearest=True)
    assert torch.equal(moved, (perturbation.move(image, params, nearest=True) > 0).double())
    assert ((perturbation.apply(image, params) > 0) == (moved > 0)).double().mean() > 0.95
    assert ((image > 0) == (moved > 0)).double().mean() < 0.95
    soft = perturbation.move(label, params, nearest=False)
    torch.testing.assert_close(soft, perturbation.apply(label, params))
    assert ((soft > 0.5) == (moved > 0)).double().mean() > 0.95


@shapes
def test_the_ball_is_the_longest_displacement_per_sample(shape):
    image = _image(shape)
    perturbation = Deformation(torch.tensor([0.0, 1.0, 4.0]))
    state = torch.get_rng_state()
    params = _inside(perturbation, image)
    assert torch.equal(torch.get_rng_state(), state)
    torch.testing.assert_close(params[1] * 4, params[2])
    assert torch.equal(perturbation.project(image, params), params)
    once = perturbation.project(image, params * 7)
    assert torch.equal(perturbation.project(image, once), once)
    assert (perturbation.size(once) <= perturbation.eps).all()
    torch.testing.assert_close(perturbation.size(once)[1:], torch.tensor([1.0, 4.0], dtype=torch.float64))
    torch.testing.assert_close(perturbation.size(params * 7), perturbation.size(params) * 7)
    turned = torch.nn.functional.cosine_similarity(once[1:], params[1:], dim=1)
    torch.testing.assert_close(turned, torch.ones_like(turned))


@pytest.mark.parametrize("scale", [1.0, 1e-30])
def test_a_step_is_the_steepest_of_its_length(scale):
    image, length = _image((9, 8), torch.float32), torch.tensor([0.5, 1.0, 0.0])
    perturbation = Deformation(5.0)
    gradient = torch.randn_like(perturbation.zeros(image)) * scale
    gradient[:, :, 0] = 0
    step = perturbation.step(torch.zeros_like(gradient), gradient, length)
    torch.testing.assert_close(perturbation.size(step), length)
    assert step[:, :, 0].abs().max() == 0
    gain = (step * gradient / scale).flatten(1).sum(1)
    other = torch.randn_like(step)
    other = other * (length / perturbation.size(other)).view(3, 1, 1, 1)
    assert (gain >= (other * gradient / scale).flatten(1).sum(1)).all()


@pytest.mark.parametrize(("shape", "spacing"), [((24, 20), None), ((16, 14, 12), (1.0, 1.0, 1.0))])
def test_outside_the_region_nothing_moves(shape, spacing):
    image = _image(shape, torch.float32)
    region = torch.zeros(3, 1, *shape, dtype=torch.bool)
    region[:, :, 3:-2, 2:] = True
    region[2, :, :6] = False
    perturbation = Deformation(1.0, spacing=spacing, control_spacing=2.0, region=region)
    perturbation.check(image)
    noise = torch.randn_like(perturbation.zeros(image))
    for params in (
        _inside(perturbation, image),
        perturbation.project(image, noise),
        perturbation.step(torch.zeros_like(noise), noise, torch.ones(3)),
    ):
        assert torch.equal(perturbation.masked(params), params)
        changed = perturbation.apply(image, params)
        assert torch.equal(changed.where(~region, 0), image.where(~region, 0))
        assert ((changed != image).flatten(1).any(1)).all()
    part = perturbation.take(torch.tensor([2]))
    assert torch.equal(part.masked(noise[2:]), perturbation.masked(noise)[2:])


def test_rounding_does_not_leave_the_bounds():
    image = torch.full((1, 1, 17, 16, 15), 1.0)
    free, bounded = Deformation(4.5), Deformation(4.5, bounds=(0.0, 1.0))
    params = _inside(free, image)
    assert free.apply(image, params).max() > 1
    assert bounded.apply(image, params).max() == 1


@shapes
def test_an_attack_raises_the_loss(shape):
    image = _image(shape, torch.float32)
    label = torch.randint(3, (3, *shape), generator=torch.Generator().manual_seed(2))
    perturbation = Deformation(1.5, control_spacing=3.0)
    result = PGD(perturbation, steps=5)(messy_model(len(shape)), image, label)
    assert result.objective.mean() > result.objective_clean.mean() + 0.001


def test_eps_beyond_the_fold_limit_is_refused_with_a_spacing_that_allows_it():
    text = r"eps must be at most 5.008 voxel, lest the image folds, got 6.0. Use a control_spacing of ([\d.]+) voxel"
    with pytest.raises(ValueError, match=text) as refusal:
        Deformation(6.0).check(torch.zeros(1, 1, 8, 8))
    coarser = float(re.search(r"spacing of ([\d.]+)", str(refusal.value))[1])
    Deformation(6.0, control_spacing=coarser).check(torch.zeros(1, 1, 8, 8))
    with pytest.raises(ValueError, match="eps must be at most 4.832 voxel"):
        Deformation(5.0).check(torch.zeros(1, 1, 8, 8, 8))
    with pytest.raises(ValueError, match="eps must be at most 10.02 mm"):
        Deformation(10.1, spacing=(1.0, 4.0))
    with pytest.raises(ValueError, match="eps must be at most 10.02 mm"):
        Deformation(1.0, spacing=(1.0, 4.0)).with_eps(torch.tensor([1.0, 11.0]))


def test_a_search_outside_the_set_keeps_clear_of_folds():
    wide = Deformation(torch.tensor([1.0, 3.0]), spacing=(1.0, 1.0, 1.0)).stretched(2.0)
    torch.testing.assert_close(wide.eps, torch.tensor([2.0, 4.832]))
    assert float(Deformation(5.0).stretched(1.5).eps) == 5.0


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="spacing must be 2 or 3 positive sizes"):
        Deformation(1.0, spacing=(1.0, 0.0))
    with pytest.raises(ValueError, match=r"control_spacing must be > 0 \(voxel\), got 0"):
        Deformation(1.0, control_spacing=0)
    with pytest.raises(ValueError, match=r"spacing must have one size per axis of the image \(2\)"):
        Deformation(1.0, spacing=(1.0, 1.0, 1.0)).check(torch.zeros(1, 1, 8, 8))
    with pytest.raises(ValueError, match=r"region must have the image's spatial shape \(8, 8\), got \(1, 1, 1, 8\)"):
        Deformation(1.0, region=torch.ones(1, 1, 1, 8, dtype=torch.bool)).check(torch.zeros(1, 1, 8, 8))
    narrow = torch.zeros(1, 1, 16, 16, dtype=torch.bool)
    narrow[..., 4:9, 4:9] = True
    with pytest.raises(ValueError, match="region must hold all voxels that a control point moves, got none"):
        Deformation(1.0, region=narrow).check(torch.zeros(1, 1, 16, 16))
    with pytest.raises(ValueError, match=r"image must be \(B, C, H, W\) or .*, got shape \(2, 5\)"):
        Deformation(0.1).check(torch.zeros(2, 5))
