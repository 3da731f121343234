"""TRADES: the formula, against torch's own KL, and the search for the largest drift."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Bernoulli, kl_divergence
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, kl_div

from imaseg import L2, TRADES, Deformation
from imaseg.training.trades import _Drift
from tests.attacks.models import messy_model, trained_model


def _loss(logits, label):
    return cross_entropy(logits, label)


def _network():
    model = messy_model(2).train()
    model[1].eval()
    model[3].p = 0.0
    return model


def _batch():
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(3, 2, 8, 8, generator=generator)
    with torch.no_grad():
        return image, _network()(image).argmax(1)


def _reference(model, image, attacked, label, beta, *, detached=True):
    clean = model(image)
    target = clean.softmax(1)
    drift = kl_div(model(attacked).log_softmax(1), target.detach() if detached else target, reduction="none")
    return cross_entropy(clean, label) + beta * drift.sum(1).mean()


@pytest.mark.parametrize("fixed_target", [True, False])
def test_loss_and_gradients_are_those_of_the_formula(fixed_target):
    (image, label), model = _batch(), _network()
    method = TRADES(_loss, L2(2.0), beta=3.0, steps=4, fixed_target=fixed_target)
    attacked = []
    find = method._furthest
    method._furthest = lambda *given: attacked.append(find(*given)) or attacked[-1]
    wanted = [parameter for parameter in model.parameters() if parameter.requires_grad]
    found = method(model, image, label)
    for detached in (True, False):
        expected = _reference(model, image, attacked[0], label, 3.0, detached=detached)
        torch.testing.assert_close(found, expected)
        pairs = zip(*(torch.autograd.grad(one, wanted, retain_graph=True) for one in (found, expected)), strict=True)
        same = all(torch.allclose(a, b, atol=1e-6) for a, b in pairs)
        assert same == (detached == fixed_target)


def test_the_search_drifts_further_than_noise_of_the_same_size():
    model, image, label = trained_model()
    attacked = TRADES(_loss, L2(1.0), steps=8)._furthest(model, image, label, [])
    size = (attacked - image).flatten(1).norm(dim=1)
    assert (size <= 1.0 + 1e-5).all()
    noise = torch.randn(20, *image.shape, generator=torch.Generator().manual_seed(1))
    noise = noise / noise.flatten(2).norm(dim=2)[:, :, None, None, None]
    with torch.no_grad():
        drift = _Drift(model(image))
        random = torch.stack([drift(model(image + some), label) for some in noise]).amax(0)
        assert (drift(model(attacked), label) > 2 * random).all()


def test_drift_is_a_mean_over_voxels_that_count():
    generator = torch.Generator().manual_seed(2)
    before, after = torch.randn(2, 2, 3, 4, 4, generator=generator)
    label = torch.randint(3, (2, 4, 4), generator=generator)
    small = _Drift(before)(after, label)
    large = _Drift(before.repeat(1, 1, 2, 3))(after.repeat(1, 1, 2, 3), label.repeat(1, 2, 3))
    torch.testing.assert_close(small, large)
    label[:, :2] = 255
    half = _Drift(before[:, :, 2:])(after[:, :, 2:], label[:, 2:])
    torch.testing.assert_close(_Drift(before, ignore_index=255)(after, label), half)


def test_drift_of_regions_is_that_of_independent_channels():
    generator = torch.Generator().manual_seed(3)
    before, after = torch.randn(2, 2, 3, 4, 4, generator=generator)
    label = torch.rand(2, 3, 4, 4, generator=generator) < 0.5
    expected = kl_divergence(Bernoulli(logits=before), Bernoulli(logits=after)).sum(1).mean((1, 2))
    torch.testing.assert_close(_Drift(before)(after, label), expected)
    model = messy_model(2)
    loss = TRADES(lambda z, y: binary_cross_entropy_with_logits(z, y.float()), L2(1.0), steps=2)
    assert loss(model, torch.randn(2, 2, 4, 4, generator=generator), label).isfinite()


def test_without_a_budget_only_the_clean_loss_is_left():
    (image, label), model = _batch(), _network()
    torch.testing.assert_close(TRADES(_loss, L2(0.0), steps=2)(model, image, label), _loss(model(image), label))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((L2(1.0), {"beta": -1.0}), "beta must be >= 0, got -1.0"),
        ((L2(1.0), {"fixed_target": "no"}), "fixed_target must be true or false, got 'no'"),
        ((Deformation(1.0), {}), "perturbation of TRADES must leave the label in place, got deformation"),
    ],
)
def test_nonsense_is_refused(arguments, text):
    perturbation, more = arguments
    with pytest.raises(ValueError, match=text):
        TRADES(_loss, perturbation, **more)
