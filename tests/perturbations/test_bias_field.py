"""Bias fields: bounded factors about the value of no signal, in 2D and 3D."""

from __future__ import annotations

import pytest
import torch

from imaseg.attacks import PGD
from imaseg.perturbations import BiasField
from tests.attacks.models import messy_model

SHAPES = [(9, 8), (6, 5, 1)]
shapes = pytest.mark.parametrize("shape", SHAPES, ids=["2d", "3d"])


def _image(shape, dtype=torch.float64):
    return torch.randn(3, 2, *shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


def _inside(perturbation, image, seed=1):
    return perturbation.init(image, torch.Generator().manual_seed(seed))


@shapes
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_change_is_exact(shape, dtype):
    image = _image(shape, dtype)
    perturbation = BiasField(0.0)
    assert torch.equal(perturbation.apply(image, perturbation.zeros(image)), image)
    params = perturbation.project(image, torch.randn_like(perturbation.zeros(image)))
    changed = perturbation.apply(image, params)
    assert torch.equal(changed, image)
    assert changed.dtype == params.dtype == dtype


@shapes
def test_the_ball_is_the_largest_control_value_per_sample(shape):
    image = _image(shape)
    perturbation = BiasField(torch.tensor([0.0, 0.1, 0.4]))
    state = torch.get_rng_state()
    params = _inside(perturbation, image)
    assert torch.equal(torch.get_rng_state(), state)
    torch.testing.assert_close(params[1] * 4, params[2])
    assert torch.equal(perturbation.project(image, params), params)
    once = perturbation.project(image, params * 7)
    assert torch.equal(perturbation.project(image, once), once)
    torch.testing.assert_close(perturbation.size(once)[1:], torch.tensor([0.1, 0.4], dtype=torch.float64))
    torch.testing.assert_close(perturbation.size(params * 7), perturbation.size(params) * 7)
    torch.testing.assert_close(perturbation.step(params, params, torch.ones(3)) - params, params.sign())


@shapes
def test_the_factor_keeps_its_bounds_and_reaches_them(shape):
    image = _image(shape).abs() + 1
    perturbation = BiasField(0.25, zero_level=0.0, control_points=6)
    for seed in range(5):
        params = 0.25 * _inside(perturbation, image, seed).sign()
        factor = perturbation.apply(image, params) / image
        assert factor.min() >= 0.8 - 1e-12
        assert factor.max() <= 1.25 + 1e-12
        torch.testing.assert_close(factor[:, :1], factor[:, 1:])
    for sign, factor in ((1, 1.25), (-1, 0.8)):
        params = torch.full_like(perturbation.zeros(image), 0.25 * sign)
        torch.testing.assert_close(perturbation.apply(image, params), image * factor)


@shapes
def test_a_normalised_image_is_changed_like_the_raw_one(shape):
    raw = _image(shape).abs() * 300
    mean, scale = torch.tensor([100.0, 150.0, 200.0]).double(), torch.tensor([40.0, 50.0, 60.0]).double()
    mean, scale = mean.view(3, 1, *[1] * len(shape)), scale.view(3, 1, *[1] * len(shape))
    perturbation = BiasField(0.3, zero_level=0.0)
    params = _inside(perturbation, raw)
    expected = (perturbation.apply(raw, params) - mean) / scale
    normalised = BiasField(0.3, zero_level=(-mean / scale).flatten())
    torch.testing.assert_close(normalised.apply((raw - mean) / scale, params), expected)
    part = normalised.take(torch.tensor([2, 0]))
    torch.testing.assert_close(
        part.apply(((raw - mean) / scale)[[2, 0]], params[[2, 0]]), expected[[2, 0]], rtol=1e-6, atol=1e-6
    )


@shapes
def test_without_a_level_the_darkest_voxel_of_each_channel_stays(shape):
    image, perturbation = _image(shape), BiasField(0.3)
    low = image.amin(tuple(range(2, image.ndim)), keepdim=True)
    changed = perturbation.apply(image, torch.full_like(perturbation.zeros(image), 0.3))
    torch.testing.assert_close(changed, low + 1.3 * (image - low))


@shapes
def test_gradients_are_exact(shape):
    image, perturbation = _image(shape)[:1], BiasField(0.3)
    params = _inside(perturbation, image).requires_grad_()
    assert torch.autograd.gradcheck(lambda p: perturbation.apply(image, p), params)


@shapes
def test_bounds_clip_and_the_region_confines(shape):
    image = _image(shape)
    region = torch.zeros(1, 1, *shape, dtype=torch.bool)
    region[..., :3, :] = True
    bounds = (image.min().item(), image.max().item())
    perturbation = BiasField(0.5, zero_level=0.0, bounds=bounds, region=region)
    perturbation.check(image)
    changed = perturbation.apply(image, torch.full_like(perturbation.zeros(image), 0.5))
    expected = (image * 1.5).clamp(*bounds).where(region, image)
    torch.testing.assert_close(changed, expected)
    assert torch.equal(changed.where(~region, 0), image.where(~region, 0))


def test_short_axes_get_fewer_control_points():
    assert BiasField(0.1, control_points=7).zeros(torch.zeros(2, 3, 32, 3, 1)).shape == (2, 1, 7, 5, 4)


@pytest.mark.parametrize("shape", [(9, 8), (6, 5, 4)])
def test_an_attack_raises_the_loss(shape):
    image = _image(shape, torch.float32)
    label = torch.randint(3, (3, *shape), generator=torch.Generator().manual_seed(2))
    result = PGD(BiasField(0.5), steps=5)(messy_model(len(shape)), image, label)
    assert result.objective.mean() > result.objective_clean.mean() + 0.001
    assert (result.size <= 0.5).all()


def test_nonsense_is_refused():
    for points in (3, 4.5):
        with pytest.raises(ValueError, match=f"control_points must be a whole number >= 4, got {points}"):
            BiasField(0.1, control_points=points)
    with pytest.raises(ValueError, match="zero_level must be finite .*, got nan"):
        BiasField(0.1, zero_level=float("nan"))
    with pytest.raises(ValueError, match=r"image must be \(B, C, H, W\) or .*, got shape \(2, 5\)"):
        BiasField(0.1).check(torch.zeros(2, 5))
