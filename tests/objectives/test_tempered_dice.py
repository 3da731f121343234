"""Tempered Dice: Dice at the temperature announced, blind to the scale of logits."""

from __future__ import annotations

import math

import pytest
import torch

from imaseg import FGSM, Linf
from imaseg.objectives import Dice, Objective, TemperedDice


def _sample(channels=3, batch=4, shape=(5, 6), seed=0, scale=3.0):
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(batch, channels, *shape, generator=generator)
    return logits, torch.randint(channels, (batch, *shape), generator=generator)


def _reference(logits, label, progress, softest, sharpest):
    """Loops over samples, classes and voxels; label integer with -1 for ignored voxels."""
    results = []
    for z, y in zip(logits.flatten(2).double().tolist(), label.flatten(1).tolist(), strict=True):
        voxels = [n for n in range(len(y)) if y[n] >= 0]
        rivals = {n: max(z[k][n] for k in range(len(z)) if k != y[n]) for n in voxels}
        counted = [n for n in voxels if y[n] > 0] or voxels
        mean = sum(abs(z[y[n]][n] - rivals[n]) for n in counted) / len(counted)
        temperature = mean / softest ** (1 - progress) / sharpest**progress
        scores = []
        for k in range(1, len(z)):
            overlap = total = 0.0
            for n in voxels:
                powers = [
                    math.exp((z[j][n] - max(z[i][n] for i in range(len(z)))) / temperature) for j in range(len(z))
                ]
                p = powers[k] / sum(powers)
                overlap += p * (y[n] == k)
                total += p + (y[n] == k)
            scores.append((2 * overlap + 1) / (total + 1))
        results.append(1 - sum(scores) / len(scores))
    return torch.tensor(results)


@pytest.mark.parametrize("progress", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("scale", [0.5, 3.0, 40.0])
@pytest.mark.parametrize("channels", [2, 4])
def test_equals_loops_over_voxels(channels, scale, progress):
    logits, label = _sample(channels, scale=scale)
    label[:, 0] = -1
    label[2] = 0  # no foreground
    label[2, 0] = -1
    found = TemperedDice(softest=2.0, sharpest=12.0)(logits[:3], label[:3], progress)
    torch.testing.assert_close(found, _reference(logits[:3], label[:3], progress, 2.0, 12.0), rtol=1e-4, atol=1e-5)


def test_is_dice_of_logits_whose_gap_has_the_named_size():
    """One voxel per class and sample with a gap of 4: at 4 units T is 1, at 8 it is a half."""
    logits = torch.tensor([[[4.0, -1.0], [0.0, 3.0]]])
    label = torch.tensor([[0, 1]])
    same = TemperedDice(softest=4.0, sharpest=8.0)
    torch.testing.assert_close(same(logits, label, 0.0), Dice()(logits, label))
    torch.testing.assert_close(same(logits, label, 1.0), Dice()(2 * logits, label))
    torch.testing.assert_close(same(logits, label, 0.5), Dice()(2**0.5 * logits, label))


@pytest.mark.parametrize("regions", [False, True], ids=["softmax", "regions"])
@pytest.mark.parametrize("factor", [1e-6, 1e-3, 0.1, 10.0, 1000.0, 1e6])
def test_any_multiple_of_the_logits_counts_like_them(regions, factor):
    logits, label = _sample()
    label = torch.stack([label == k for k in range(3)], 1) if regions else label
    for progress in (0.0, 0.5, 1.0):
        usual = TemperedDice()(logits, label, progress)
        torch.testing.assert_close(TemperedDice()(factor * logits, label, progress), usual, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(Dice()(factor * logits, label), TemperedDice()(logits, label, 0.0), atol=1e-2)


@pytest.mark.parametrize("value", [0.0, 5.0, 1e30])
def test_logits_without_any_gap_are_finite(value):
    logits = torch.full((1, 2, 3, 3), value, requires_grad=True)
    found = TemperedDice()(logits, torch.ones(1, 3, 3, dtype=torch.long))
    (gradient,) = torch.autograd.grad(found.sum(), logits)
    torch.testing.assert_close(found, Dice()(torch.zeros(1, 2, 3, 3), torch.ones(1, 3, 3, dtype=torch.long)))
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("regions", [False, True], ids=["softmax", "regions"])
def test_saturated_logits_keep_a_gradient(regions):
    logits, label = _sample(scale=1000.0)
    label = torch.stack([label == k for k in range(3)], 1) if regions else label
    gradients = []
    for objective in (Dice(), TemperedDice()):
        leaf = logits.clone().requires_grad_()
        gradients.append(torch.autograd.grad(objective(leaf, label, 0.0).sum(), leaf)[0])
    blind, seeing = ((one != 0).float().mean() for one in gradients)
    assert blind < 0.1
    assert seeing > 0.9


def test_the_temperature_carries_no_gradient():
    logits, label = _sample(scale=30.0)
    gap = []
    for z, y in zip(logits, label, strict=True):
        right = z.gather(0, y[None])[0]
        other = z.scatter(0, y[None], -math.inf).amax(0)
        gap.append((right - other).abs()[y > 0].mean())
    temperature = (torch.stack(gap) / 2.5).view(-1, 1, 1, 1)
    left, right = (logits.clone().requires_grad_() for _ in range(2))
    (found,) = torch.autograd.grad(TemperedDice(softest=2.5)(left, label, 0.0).sum(), left)
    (expected,) = torch.autograd.grad(Dice()(right / temperature, label).sum(), right)
    torch.testing.assert_close(found, expected)


def test_samples_do_not_share_a_temperature():
    logits, label = _sample()
    logits[0] *= 1000
    together = TemperedDice()(logits, label)
    alone = torch.cat([TemperedDice()(logits[i, None], label[i, None]) for i in range(4)])
    torch.testing.assert_close(together, alone)


@pytest.mark.parametrize("label", ["empty", "ignored"])
def test_a_case_without_foreground_is_finite_and_can_be_painted(label):
    logits, _ = _sample(scale=0.5)
    given = torch.full((4, 5, 6), 0 if label == "empty" else -1)
    leaf = logits.requires_grad_()
    value = TemperedDice()(leaf, given)
    (gradient,) = torch.autograd.grad(value.sum(), leaf)
    assert torch.isfinite(value).all()
    assert torch.isfinite(gradient).all()
    assert (gradient.abs().sum() > 0) == (label == "empty")


def test_a_saturated_model_cannot_hide_behind_an_empty_label():
    """Painting a structure that is not there must be possible too: 1000 times the logits, as far as the original."""
    torch.manual_seed(0)
    net = torch.nn.Conv2d(1, 2, 3, padding=1)
    with torch.no_grad():
        net.bias[0] += 1.5
    image, label = torch.randn(2, 1, 8, 8), torch.zeros(2, 8, 8).long()
    attack = FGSM(Linf(1.0), objective=TemperedDice())
    honest, saturated = attack(net, image, label), attack(lambda x: 1000 * net(x), image, label)
    assert (honest.prediction == 1).any()
    assert (saturated.prediction == 1).sum() >= 0.8 * (honest.prediction == 1).sum()


def test_it_is_registered_and_takes_plain_data():
    built = Objective.build({"name": "tempered-dice", "softest": 2, "sharpest": 9.0, "ignore_index": 9})
    assert (built.softest, built.sharpest, built.ignore_index, built.smooth) == (2, 9.0, 9, 1.0)
    assert repr(built) == "TemperedDice(softest=2, sharpest=9.0, smooth=1.0, classes=None, ignore_index=9)"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"softest": 0.0}, r"must be 0 < softest <= sharpest, got 0.0 and"),
        ({"softest": 9.0, "sharpest": 8.0}, r"must be 0 < softest <= sharpest, got 9.0 and 8.0. Use"),
        ({"smooth": 0.0}, "smooth must be > 0"),
    ],
)
def test_nonsense_is_refused(arguments, text):
    with pytest.raises(ValueError, match=text):
        TemperedDice(**arguments)


def test_classes_are_those_of_dice_on_tempered_logits():
    torch.manual_seed(0)
    logits, label = torch.randn(2, 4, 6, 6), torch.randint(4, (2, 6, 6))
    whole = torch.stack([TemperedDice(classes=[k])(logits, label, 0.5) for k in (1, 2, 3)]).mean(0)
    torch.testing.assert_close(TemperedDice()(logits, label, 0.5), whole)
