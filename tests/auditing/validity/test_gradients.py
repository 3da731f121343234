"""Steps along gradients: what they gain on honest networks, behind a ripple, and with random signs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from imaseg import L2, PGD, Linf, audit, load_model
from imaseg.auditing import Plan
from imaseg.auditing.validity.gradients import DRAWS, STEPS, VOXELS, gains, noise_level, noisy, silent
from imaseg.objectives import Dice
from tests.attacks.models import trained_model

BUDGETS = [L2(0.1, unit="rms"), Linf(0.1)]


@pytest.fixture(scope="module")
def trained():
    return trained_model()


class _RandomSigns(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient):
        return gradient * torch.randn_like(gradient).sign()


def _honest(net):
    return net


def _shattered(net):
    return lambda x: net(x + 0.005 * torch.sin(2000 * x))


def _random_signs(net):
    return lambda x: net(_RandomSigns.apply(x))


def _gains(masked, trained, perturbation):
    net, image, label = trained
    model, attack = masked(net), PGD(perturbation)
    rows = [
        gains(model, one[None], truth[None], attack, sigma=noise_level(perturbation, one[None], 0))
        for one, truth in zip(image, label, strict=True)
    ]
    return torch.tensor(rows).mean(0)


@pytest.mark.parametrize("perturbation", BUDGETS, ids=["l2", "linf"])
def test_honest_gradients_keep_what_they_promise(trained, perturbation):
    for predicted, real, mean in _gains(_honest, trained, perturbation).tolist():
        assert real > 0.7 * predicted
        assert mean == pytest.approx(real, rel=0.3)


@pytest.mark.parametrize("perturbation", BUDGETS, ids=["l2", "linf"])
@pytest.mark.parametrize("masked", [_shattered, _random_signs])
def test_behind_a_mask_next_to_nothing_of_the_promise_is_kept(trained, masked, perturbation):
    for predicted, real, _ in _gains(masked, trained, perturbation).tolist():
        assert real < 0.25 * predicted


def test_the_prediction_is_the_gradient_times_the_step(trained):
    net, image, label = trained
    one, truth = image[:1], label[:1]
    leaf = one.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(Dice()(net(leaf), truth).sum(), leaf)
    found = gains(net, one, truth, PGD(Linf(0.1)), sigma=0.05)
    assert [predicted for predicted, _, _ in found] == pytest.approx(
        [float(share * 0.1 * gradient.abs().sum()) for share in STEPS], rel=1e-4
    )
    with torch.no_grad():
        there = Dice()(net(one + 0.1 * gradient.sign()), truth) - Dice()(net(one), truth)
    assert found[-1][1] == pytest.approx(float(there), rel=1e-3)


def test_the_noise_has_the_size_of_the_budget():
    image = torch.zeros(1, 1, 40, 40)
    assert noise_level(L2(0.2, unit="rms"), image, 0) == pytest.approx(0.2, rel=0.05)
    assert noise_level(Linf(0.2), image, 0) == pytest.approx(0.2 / 3**0.5, rel=0.05)


def test_noise_is_new_in_each_pass():
    model, image = noisy(lambda x: x, 0.5), torch.zeros(1, 1, 50, 50)
    first, second = model(image), model(image)
    assert not torch.equal(first, second)
    assert first.std().item() == pytest.approx(0.5, rel=0.05)
    assert DRAWS >= 16


def _clipped(net):
    def model(x):
        logits = net(x)
        centred = logits - logits.mean(1, keepdim=True)
        return centred.clamp(-1e-3, 1e-3) + 1e-3 * centred.detach()

    return model


def _only_the_left_half(net):
    def model(x):
        logits = net(x)
        left = torch.arange(x.shape[-1]) < x.shape[-1] // 2
        return torch.where(left, logits, logits.detach())

    return model


@pytest.mark.parametrize(
    ("masked", "dead"),
    [
        (_honest, 0),
        (_clipped, VOXELS),
        (lambda net: lambda x: net((8 * x).round() / 8), VOXELS),
        (lambda net: lambda x: net(x.detach()), VOXELS),
        (lambda net: lambda x: torch.cat([net(x)[:, 1:] - net(x)[:, :1]], 1), 0),
    ],
    ids=["honest", "clipped", "rounded image", "detached", "regions"],
)
def test_logits_without_a_gradient_are_found(trained, masked, dead):
    net, image, label = trained
    model = masked(net)
    truth = label[:1] if model(image[:1]).shape[1] > 1 else label[:1].unsqueeze(1) == 1
    assert silent(model, image[:1], truth) == [dead, VOXELS]


def test_only_voxels_on_the_silent_side_are_counted(trained):
    net, image, label = trained
    model, middle = _only_the_left_half(net), image.shape[-1] // 2
    for side, share in ((slice(0, middle), 0), (slice(middle, None), 1)):
        truth = torch.zeros_like(label[:1])
        truth[..., side] = label[:1, ..., side]
        dead, looked = silent(model, image[:1], truth)
        assert looked > 0
        assert dead == share * looked


def test_without_rightly_decided_foreground_nothing_is_looked_at(trained):
    net, image, label = trained
    assert silent(net, image[:1], torch.zeros_like(label[:1])) == [0, 0]


class _Rippled(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network(x + 0.005 * torch.sin(2000 * x))


def test_an_audit_is_red_behind_a_ripple_and_green_without(tiny_run, prepared_phantom, tmp_path):
    plan = Plan.model_validate(
        {
            "name": "p",
            "probes": [{"attack": "pgd", "unit": "std", "eps": [0.1, 0.2], "steps": 8}],
            "validity": {"cases": 1, "large_eps": 5.0, "scaled_eps": 0.2},
        }
    )
    model, panels = load_model(tiny_run), []
    for folder in ("honest", "rippled"):
        done = audit(model, prepared_phantom, plan, tmp_path / folder, select=["phantom_005"])
        panels.append({check.check: check for check in done.audit.summary.validity})
        model.network = _Rippled(model.network)
    told = "Gradients tell what a step along them gains"
    assert panels[0][told].ok is True, panels[0][told]
    assert panels[0]["Gradients averaged over noisy copies make no stronger attack"].ok is True
    assert panels[1][told].ok is False, panels[1][told]
    assert panels[1][told].said.startswith("A step along the gradient gains ")
