"""Contrast curves against scikit-image; fixed ends, finite gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.exposure import adjust_gamma

from imaseg.attacks import PGD
from imaseg.perturbations import Gamma
from tests.attacks.models import messy_model

shapes = pytest.mark.parametrize("shape", [(9, 8), (6, 5, 4)], ids=["2d", "3d"])


def _image(shape, dtype=torch.float64):
    return torch.randn(3, 2, *shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


def _in_unit_range(shape):
    image = _image(shape)
    low, high = image.amin(tuple(range(2, image.ndim)), True), image.amax(tuple(range(2, image.ndim)), True)
    return (image - low) / (high - low)


@shapes
@pytest.mark.parametrize(("param", "exponent"), [(0.5, 1.5), (-0.5, 1 / 1.5), (1.0, 2.0), (-1.0, 0.5)])
def test_the_curve_is_that_of_scikit_image(shape, param, exponent):
    image = _in_unit_range(shape)
    params = torch.full((3, 2), param, dtype=torch.float64)
    expected = torch.from_numpy(adjust_gamma(image.numpy(), exponent))
    torch.testing.assert_close(Gamma(1.0).apply(image, params), expected)
    # Any other scale gives the same curve on its own range.
    torch.testing.assert_close(Gamma(1.0).apply(image * 700 - 30, params), expected * 700 - 30)


@shapes
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_change_is_exact(shape, dtype):
    image = _image(shape, dtype)
    perturbation = Gamma(0.0)
    params = perturbation.project(image, torch.ones_like(perturbation.zeros(image)))
    changed = perturbation.apply(image, params)
    assert torch.equal(changed, image)
    assert changed.dtype == params.dtype == dtype


@shapes
def test_the_ball_is_the_largest_channel_per_sample(shape):
    image = _image(shape)
    perturbation = Gamma(torch.tensor([0.0, 0.1, 0.4]))
    params = perturbation.init(image, torch.Generator().manual_seed(1))
    torch.testing.assert_close(params[1] * 4, params[2])
    assert torch.equal(perturbation.project(image, params), params)
    once = perturbation.project(image, params * 70)
    assert torch.equal(perturbation.project(image, once), once)
    torch.testing.assert_close(perturbation.size(once)[1:], torch.tensor([0.1, 0.4], dtype=torch.float64))
    torch.testing.assert_close(perturbation.size(params * 7), perturbation.size(params) * 7)


@shapes
def test_gradients_are_exact(shape):
    image = _image(shape)[:1]
    params = torch.tensor([[0.3, -0.2]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda p: Gamma(1.0).apply(image, p), params)


def test_ends_stay_and_gradients_are_finite_there():
    image = torch.tensor([0.0, 1e-40, 1e-30, 1.0]).view(1, 1, 2, 2)
    params = torch.full((1, 1), -1.0, requires_grad=True)
    changed = Gamma(1.0).apply(image, params)
    changed.sum().backward()
    assert torch.isfinite(params.grad).all()
    assert changed.flatten()[[0, 3]].tolist() == [0.0, 1.0]


def test_a_constant_image_stays():
    image = torch.full((1, 1, 4, 4), 3.0)
    params = torch.ones(1, 1, requires_grad=True)
    changed = Gamma(1.0).apply(image, params)
    changed.sum().backward()
    assert torch.equal(changed, image)
    assert params.grad.item() == 0


@shapes
def test_bounds_clip_and_the_region_confines(shape):
    image = _in_unit_range(shape)
    region = torch.rand(3, 1, *shape, generator=torch.Generator().manual_seed(5)) > 0.5
    perturbation = Gamma(1.0, bounds=(0.0, torch.tensor([1.0, 1.5, 2.0])), region=region)
    changed = perturbation.apply(image, torch.ones(3, 2, dtype=torch.float64))
    torch.testing.assert_close(changed, torch.where(region, image**2, image))
    assert torch.equal(changed.where(~region, 0), image.where(~region, 0))
    narrow = Gamma(1.0, bounds=(0.1, 0.9)).apply(image, torch.ones(3, 2, dtype=torch.float64))
    torch.testing.assert_close(narrow, (image**2).clamp(0.1, 0.9))


@shapes
def test_an_attack_raises_the_loss(shape):
    image = _image(shape, torch.float32)
    label = torch.randint(3, (3, *shape), generator=torch.Generator().manual_seed(2))
    result = PGD(Gamma(1.0), steps=5)(messy_model(len(shape)), image, label)
    assert result.objective.mean() > result.objective_clean.mean() + 0.001
    assert np.allclose(result.params.abs().amax(1), result.size)


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"image must be \(B, C, H, W\) or .*, got shape \(2, 5\)"):
        Gamma(0.1).check(torch.zeros(2, 5))


def test_each_sample_and_channel_is_bent_within_its_own_range():
    shape = torch.tensor([0.0, 0.25, 1.0, 0.5]).view(2, 2)
    low, width = torch.tensor([[0.0, -5.0], [100.0, 2.0]]), torch.tensor([[1.0, 30.0], [800.0, 0.1]])
    image = low.view(2, 2, 1, 1) + width.view(2, 2, 1, 1) * shape
    params = torch.tensor([[1.0, 0.5], [-1.0, 0.0]])
    found = Gamma(1.0).apply(image, params)
    for b, c, exponent in ((0, 0, 2.0), (0, 1, 1.5), (1, 0, 0.5), (1, 1, 1.0)):
        expected = low[b, c] + width[b, c] * shape**exponent
        torch.testing.assert_close(found[b, c], expected, rtol=1e-5, atol=1e-5)
