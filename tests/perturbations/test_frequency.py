"""Quantisation against scipy's DCT with true rounding; a gradient that leads somewhere."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.fft import dctn, idctn

from imaseg.attacks import FGSM, PGD
from imaseg.objectives import Dice
from imaseg.perturbations import Frequency
from tests.attacks.models import messy_model, trained_model

SHAPES = [((17, 8), 8), ((6, 5, 3), 4), ((9, 7), 3)]
shapes = pytest.mark.parametrize(("shape", "block"), SHAPES, ids=["2d", "3d", "2d-block3"])


def _image(shape, dtype=torch.float64):
    return torch.randn(3, 2, *shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


def _by_scipy(image, steps):
    """One channel in grey levels from 0 to 255, one table with steps above 0."""
    block = steps.shape[0]
    padded = np.pad(image - 128, [(0, -size % block) for size in image.shape], mode="edge")
    for corner in itertools.product(*(range(0, size, block) for size in padded.shape)):
        cut = tuple(slice(first, first + block) for first in corner)
        padded[cut] = idctn(steps * np.round(dctn(padded[cut], norm="ortho") / steps), norm="ortho")
    return padded[tuple(slice(size) for size in image.shape)] + 128


@shapes
def test_quantisation_is_that_of_scipy(shape, block):
    image = _image(shape)
    axes = tuple(range(2, image.ndim))
    low, width = image.amin(axes, True), image.amax(axes, True) - image.amin(axes, True)
    perturbation = Frequency(30.0, block=block)
    params = perturbation.init(image, torch.Generator().manual_seed(1)) + 1e-3
    found = perturbation.apply(image, params)
    grey = ((image - low) / width * 255).numpy()
    for b, c in np.ndindex(3, 2):
        expected = torch.from_numpy(_by_scipy(grey[b, c], params[b, c].numpy()))
        torch.testing.assert_close(found[b, c], expected / 255 * width[b, c] + low[b, c])


@shapes
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_change_is_exact(shape, block, dtype):
    image = _image(shape, dtype)
    perturbation = Frequency(0.0, block=block)
    params = perturbation.project(image, torch.ones_like(perturbation.zeros(image)))
    changed = perturbation.apply(image, params)
    assert torch.equal(changed, image)
    assert changed.dtype == params.dtype == dtype


def test_steps_of_zero_leave_their_frequency_alone():
    image, perturbation = _image((8, 8)), Frequency(40.0)
    params = perturbation.zeros(image)
    params[..., 3, 5] = 40
    change = (perturbation.apply(image, params) - image).numpy()
    spectrum = np.abs(dctn(change, norm="ortho", axes=(2, 3)))
    assert spectrum[..., 3, 5].max() > 0.01
    spectrum[..., 3, 5] = 0
    assert spectrum.max() < 1e-12


@shapes
def test_the_ball_holds_steps_from_zero_to_eps(shape, block):
    image = _image(shape)
    perturbation = Frequency(torch.tensor([0.0, 5.0, 20.0]), block=block)
    state = torch.get_rng_state()
    params = perturbation.init(image, torch.Generator().manual_seed(1))
    assert torch.equal(torch.get_rng_state(), state)
    assert params.min() >= 0
    torch.testing.assert_close(params[1] * 4, params[2])
    assert torch.equal(perturbation.project(image, params), params)
    once = perturbation.project(image, torch.randn_like(params) * 70)
    assert torch.equal(perturbation.project(image, once), once)
    assert once.min() == 0
    torch.testing.assert_close(perturbation.size(once)[1:], torch.tensor([5.0, 20.0], dtype=torch.float64))
    torch.testing.assert_close(perturbation.size(params * 7), perturbation.size(params) * 7)


@pytest.mark.parametrize("start", [0.0, 1e-30, 1e-7, 25.0])
def test_the_gradient_is_that_of_the_chord_and_finite(start):
    image, perturbation, eps = _image((8, 8)), Frequency(25.0), 25.0
    weight = torch.randn(image.shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    params = (perturbation.zeros(image) + start).requires_grad_()
    (gradient,) = torch.autograd.grad((perturbation.apply(image, params) * weight).sum(), params)
    assert torch.isfinite(gradient).all()
    if start in (0.0, 25.0):
        for place in [(0, 0), (2, 5), (7, 7)]:
            ends = [perturbation.zeros(image) for _ in range(2)]
            ends[1][(..., *place)] = eps
            rise = [(perturbation.apply(image, end) * weight).flatten(2).sum(2) for end in ends]
            torch.testing.assert_close(gradient[(..., *place)], (rise[1] - rise[0]) / eps)


def test_one_step_from_the_clean_image_beats_rounding_everything():
    model, image, label = trained_model()
    perturbation = Frequency(60.0)
    with torch.no_grad():
        everything = torch.full_like(perturbation.zeros(image), 60.0)
        rounded = Dice()(model(perturbation.apply(image, everything)), label)
    result = FGSM(perturbation)(model, image, label)
    assert result.objective.mean() > rounded.mean()
    assert (result.objective >= result.objective_clean).all()


def test_half_precision_regions_leave_the_rounding_alone():
    image, perturbation = _image((8, 8), torch.float32), Frequency(25.0)
    params = perturbation.init(image, torch.Generator().manual_seed(1))
    with torch.autocast("cpu", torch.bfloat16):
        changed = perturbation.apply(image, params)
    assert torch.equal(changed, perturbation.apply(image, params))


def test_a_constant_image_stays():
    image = torch.full((1, 1, 8, 8), 3.0)
    params = torch.full((1, 1, 8, 8), 9.0, requires_grad=True)
    changed = Frequency(9.0).apply(image, params)
    changed.sum().backward()
    assert torch.equal(changed, image)
    assert params.grad.abs().max() == 0


@shapes
def test_bounds_clip_and_the_region_confines(shape, block):
    image = _image(shape)
    region = torch.rand(3, 1, *shape, generator=torch.Generator().manual_seed(5)) > 0.5
    bounds = (image.min().item(), image.max().item())
    free, held = Frequency(90.0, block=block), Frequency(90.0, block=block, bounds=bounds, region=region)
    held.check(image)
    params = free.init(image, torch.Generator().manual_seed(1))
    changed = held.apply(image, params)
    assert torch.equal(changed, free.apply(image, params).clamp(*bounds).where(region, image))
    assert not torch.equal(changed, image)


@pytest.mark.parametrize("shape", [(9, 8), (6, 5, 4)])
def test_an_attack_raises_the_loss(shape):
    image = _image(shape, torch.float32)
    label = torch.randint(3, (3, *shape), generator=torch.Generator().manual_seed(2))
    result = PGD(Frequency(60.0), steps=5)(messy_model(len(shape)), image, label)
    assert result.objective.mean() > result.objective_clean.mean() + 0.001


def test_nonsense_is_refused():
    for block in (1, 2.5):
        with pytest.raises(ValueError, match=rf"block must be a whole number >= 2 \(voxels\), got {block}"):
            Frequency(0.1, block=block)
