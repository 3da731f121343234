"""One perturbation for many images, against the best one of linear models, which is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from imaseg import L2, PGD, BiasField, Deformation, Linf, LogitMargin
from imaseg.attacks import UniversalPGD
from imaseg.perturbations import near


def _linear(weights, offset=50.0):
    """A classifier whose lead of class 0 over class 1 is offset - <w, x>, w by shape of the image."""

    def model(image):
        weight = weights[tuple(image.shape[1:])]
        lead = offset - (image * weight).flatten(1).sum(1)
        return torch.stack([lead, torch.zeros_like(lead)], 1)

    return model


def _lead(model, image):
    return model(image)[:, 0]


def _weights(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _label(count):
    return torch.zeros(count, dtype=torch.long)


@pytest.mark.parametrize("shape", [(2, 9), (1, 5, 6), (2, 4, 3, 5)])
@pytest.mark.parametrize("split", [1, 3])
def test_the_best_change_of_a_linear_model_is_found(shape, split):
    weight, images = _weights(*shape), torch.rand(6, *shape, generator=torch.Generator().manual_seed(1))
    model, values = _linear({shape: weight}), weight.numel()
    batches = [(part, _label(len(part))) for part in images.chunk(split)]
    for allowed, best in (
        (L2(0.1, unit="rms"), 0.1 * values**0.5 * weight.norm()),
        (L2(0.5), 0.5 * weight.norm()),
        (Linf(0.1), 0.1 * weight.abs().sum()),
    ):
        found = UniversalPGD(allowed, steps=20, objective=LogitMargin()).fit(model, batches)
        fell = _lead(model, images) - _lead(model, found.apply(images))
        assert fell.numpy() == pytest.approx(float(best), rel=2e-3)
        change = found.apply(images) - images
        assert torch.allclose(change, change[:1].expand_as(change), atol=1e-6)
        assert bool((allowed.size(change) <= allowed.eps * (1 + 1e-5)).all())


@pytest.mark.parametrize("together", [True, False])
def test_cases_that_pull_apart_are_hurt_in_the_mean(together):
    """Of two models, w for one image and u for the other, the best common change lies along w + u, as it is long."""
    shape, (w, u) = (1, 4, 4), (5 * _weights(1, 4, 4, seed=2), _weights(1, 4, 4, seed=3))

    def model(image):
        which = torch.where(image.detach()[:, :1, :1, :1] > 5, w, u)  # the second image is 10 brighter
        lead = 500 - (image * which).flatten(1).sum(1)
        return torch.stack([lead, torch.zeros_like(lead)], 1)

    images = torch.stack([torch.zeros(shape), torch.full(shape, 10.0)])
    batches = [(images, _label(2))] if together else [(image[None], _label(1)) for image in images]
    found = UniversalPGD(L2(0.5), steps=30, objective=LogitMargin()).fit(model, batches)
    change = found.apply(images)[0] - images[0]
    assert torch.allclose(change, 0.5 * (w + u) / (w + u).norm(), atol=2e-3)


def _matrix(size, grid):
    """Linear interpolation from `grid` points to `size`, ends on ends."""
    places, matrix = np.linspace(0, grid - 1, size), np.zeros((size, grid))
    for row, place in enumerate(places):
        low = min(int(place), grid - 2)
        matrix[row, low : low + 2] = 1 - (place - low), place - low
    return matrix


def test_images_of_several_shapes_share_one_grid():
    shapes, grid = [(1, 6, 8), (1, 11, 9)], (4, 5)
    weights = {shape: _weights(*shape, seed=4) for shape in shapes}
    pulled = sum(_matrix(h, 4).T @ weights[1, h, w][0].numpy() @ _matrix(w, 5) for _, h, w in shapes)
    batches = [(torch.zeros(1, *shape), _label(1)) for shape in shapes]
    search = UniversalPGD(L2(0.05, unit="rms"), steps=10, grid=grid, objective=LogitMargin())
    found = search.fit(_linear(weights), batches)
    best = torch.tensor(pulled / np.linalg.norm(pulled) * 20**0.5, dtype=torch.float32)
    assert float((found.pattern[0] * best).mean()) > 0.99
    for (image, _), (_, h, w) in zip(batches, shapes, strict=True):
        expected = _matrix(h, 4) @ found.pattern[0].double().numpy() @ _matrix(w, 5).T
        # Interpolated values are smaller; each image has its whole budget all the same.
        expected *= 0.05 / np.sqrt(np.square(expected).mean())
        assert np.allclose(found.apply(image)[0, 0].numpy(), expected, atol=1e-6)


def test_each_batch_may_have_its_own_budget_place_and_bounds():
    shape = (1, 6, 6)
    model, label = _linear({shape: torch.ones(shape)}), torch.zeros(1, 6, 6, dtype=torch.long)
    label[0, 2, 2] = 1
    mask = near(label, 2.0, (1.0, 1.0))
    image = torch.full((1, *shape), 0.9)
    own = [L2(0.2, unit="rms").within(mask), L2(0.4, unit="rms", bounds=(0.0, 1.0))]
    batches = [(image, _label(1), each) for each in own]
    found = UniversalPGD(L2(9.0, unit="rms"), steps=8, objective=LogitMargin()).fit(model, batches)
    first, second = (found.apply(image, each) - image for each in own)
    assert bool((first[~mask] == 0).all())
    assert first[mask].numpy() == pytest.approx(0.2, abs=2e-3)
    assert second.numpy() == pytest.approx(0.1, abs=2e-3)


class _Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.BatchNorm2d(4), torch.nn.Tanh(), torch.nn.Conv2d(4, 2, 1)
        )

    def forward(self, image):
        return self.layers(image)


@pytest.fixture
def network():
    net = _Net().train()
    images = torch.rand(4, 1, 10, 12, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        lead = (net.eval()(images) * torch.tensor([-1.0, 1.0]).view(1, 2, 1, 1)).sum(1)
        net.layers[-1].bias[1] -= lead.median()  # half of the voxels are of either class
    return net.train(), images, (lead > lead.median()).long()


def test_the_model_and_the_global_generator_are_left_as_they_were(network):
    net, images, label = network
    before = {name: value.clone() for name, value in net.state_dict().items()}
    state = torch.random.get_rng_state()
    UniversalPGD(Linf(0.1), steps=2).fit(net, [(images, label)])
    assert net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in net.parameters())


def test_figures_are_those_of_the_changed_images_and_more_passes_never_weaken(network):
    net, images, label = network
    dice = []
    for steps in (1, 3, 9):
        batches = [(images[:2], label[:2]), (images[2:], label[2:])]
        found = UniversalPGD(L2(0.3, unit="rms"), steps=steps).fit(net, batches)
        again = PGD(L2(0.0), steps=1)(net, found.apply(images), label)
        assert found.dice == pytest.approx(float(again.foreground_dice.mean()), abs=1e-6)
        assert (found.dice_clean, found.samples) == (1.0, 4)
        assert found.backward_calls == 2 * steps
        assert found.forward_calls == 2 * (4 * steps + 2)
        dice.append(found.dice)
    assert dice == sorted(dice, reverse=True)
    single = PGD(L2(0.3, unit="rms"), steps=20)(net, images, label)
    # One change for all can be no worse for the model than one for each.
    assert float(single.foreground_dice.mean()) <= dice[-1] < 1.0


def test_the_same_seed_finds_the_same(network):
    net, images, label = network
    patterns = [UniversalPGD(Linf(0.1), steps=2, seed=seed).fit(net, [(images, label)]).pattern for seed in (1, 1, 2)]
    assert torch.equal(patterns[0], patterns[1])
    assert not torch.equal(patterns[0], patterns[2])


def test_what_makes_no_sense_is_refused(network):
    net, images, label = network
    for allowed in (BiasField(0.1), Deformation(1.0)):
        with pytest.raises(ValueError, match=f"must be L2 or Linf.*got {allowed.name}"):
            UniversalPGD(allowed)
    with pytest.raises(ValueError, match="steps must be a whole number >= 1"):
        UniversalPGD(Linf(0.1), steps=0)
    with pytest.raises(ValueError, match="step_size must be > 0"):
        UniversalPGD(Linf(0.1), step_size=0.0)
    with pytest.raises(ValueError, match="batches must hold at least one"):
        UniversalPGD(Linf(0.1)).fit(net, [])
    with pytest.raises(
        ValueError, match=r"grid must have one size >= 1 per axis of the images \(2, 1 to 3\), got \(4,\)"
    ):
        UniversalPGD(Linf(0.1), grid=(4,)).fit(net, [(images, label)])
    with pytest.raises(ValueError, match=r"grid must have one size >= 1.*got \(0, 4\)"):
        UniversalPGD(Linf(0.1), grid=(0, 4)).fit(net, [(images, label)])
    with pytest.raises(ValueError, match="got a generator, which ends after one pass"):
        UniversalPGD(Linf(0.1)).fit(net, (batch for batch in [(images, label)] * 3))
    found = UniversalPGD(Linf(0.1), steps=1).fit(net, [(images, label)])
    with pytest.raises(ValueError, match="must have the pattern's 1 channels and 2 spatial axes"):
        found.apply(torch.zeros(1, 2, 10, 12))
    with pytest.raises(ValueError, match="must be L2 or Linf"):
        UniversalPGD(Linf(0.1)).fit(net, [(images, label, BiasField(0.1))])
