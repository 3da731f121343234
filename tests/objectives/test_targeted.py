"""Objectives that ask for one particular error, against loops over voxels, and what attacks reach with them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from imaseg import IFGSM, L2, PGD, DiceBelow
from imaseg.objectives import Erase, Grow, Objective, Swap, Towards
from imaseg.scores import Target, encode
from tests.attacks.models import trained_model

CAP = 0.5


def _mask(channels, shape, *, regions, seed=7):
    generator = torch.Generator().manual_seed(seed)
    if regions:
        return torch.rand(1, channels, *shape, generator=generator) > 0.5
    return torch.randint(channels, (1, *shape), generator=generator)


def _objectives(channels, shape, *, regions):
    last = channels - 1
    swap = [Swap(0, last)] if regions and channels > 1 else [Swap(1, last)] if channels > 2 else []
    return [Erase(last), Grow(last), *swap, Towards(_mask(channels, shape, regions=regions))]


def _sample(channels, shape, *, regions, batch=3, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(batch, channels, *shape, generator=generator, dtype=dtype)
    if regions:
        return logits, torch.rand(logits.shape, generator=generator) > 0.5
    return logits, torch.randint(channels, (batch, *shape), generator=generator)


def _reached(gain):
    return -math.log(1 + max(0.0, CAP - gain))


def _gain(z, k):
    return z[k] - max(z[j] for j in range(len(z)) if j != k)


def _reference(objective, z, y, mask):
    """One sample of a softmax model: logits (K, N), label (N,) with -1 for ignored voxels."""
    kept = [n for n in range(len(y)) if y[n] >= 0]
    match objective:
        case Erase(structure=s):
            return np.mean([_reached(-_gain(z[:, n], s)) for n in kept])
        case Grow(structure=s):
            return np.mean([_reached(_gain(z[:, n], s)) for n in kept])
        case Swap(first=a, second=b):
            wanted = {n: {a: b, b: a}[int(y[n])] for n in kept if y[n] in (a, b)}
        case Towards():
            wanted = {n: int(mask[n]) for n in kept if mask[n] >= 0}
    per_class = {}
    for n, k in wanted.items():
        per_class.setdefault(k, []).append(_reached(_gain(z[:, n], k)))
    return np.mean([np.mean(values) for values in per_class.values()]) if per_class else 0.0


def _reference_of_regions(objective, z, y, mask):
    """One sample of a region-based model: logits and label (K, N)."""
    voxels = range(z.shape[1])
    match objective:
        case Erase(structure=s):
            return np.mean([_reached(-z[s, n]) for n in voxels])
        case Grow(structure=s):
            return np.mean([_reached(z[s, n]) for n in voxels])
        case Swap(first=a, second=b):
            wanted = {(k, n): y[o, n] for k, o in ((a, b), (b, a)) for n in voxels if y[a, n] != y[b, n]}
        case Towards():
            wanted = {(k, n): mask[k, n] for k in range(len(z)) for n in voxels}
    channels = []
    for k in sorted({k for k, _ in wanted}):
        mine = [(bool(inside), z[k, n]) for (c, n), inside in wanted.items() if c == k]
        sides = [[_reached(v if side else -v) for inside, v in mine if inside == side] for side in (False, True)]
        channels.append(np.mean([np.mean(side) for side in sides if side]))
    return np.mean(channels)


SHAPES = pytest.mark.parametrize("shape", [(6, 5), (3, 4, 2)])


@SHAPES
@pytest.mark.parametrize("classes", [2, 5, 100])
def test_equals_a_loop_over_voxels(classes, shape):
    logits, label = _sample(classes, shape, regions=False)
    label[1].view(-1)[:4] = -1
    for objective in _objectives(classes, shape, regions=False):
        mask = objective.mask[0].view(-1) if isinstance(objective, Towards) else None
        found = objective(logits, label)
        expected = [
            _reference(objective, z.double().flatten(1).numpy(), y.view(-1).numpy(), mask)
            for z, y in zip(logits, label, strict=True)
        ]
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)


@SHAPES
@pytest.mark.parametrize("channels", [1, 3])
def test_regions_equal_a_loop_over_channels_and_voxels(channels, shape):
    logits, label = _sample(channels, shape, regions=True)
    for objective in _objectives(channels, shape, regions=True):
        mask = objective.mask[0].flatten(1) if isinstance(objective, Towards) else None
        found = objective(logits, label)
        expected = [
            _reference_of_regions(objective, z.double().flatten(1).numpy(), y.flatten(1).numpy(), mask)
            for z, y in zip(logits, label, strict=True)
        ]
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("regions", [False, True])
def test_zero_exactly_where_the_wish_is_fulfilled_with_cap_to_spare(regions):
    _, label = _sample(4, (6, 5), regions=regions)
    numbers = label.long() if regions else torch.nn.functional.one_hot(label, 4).movedim(-1, 1)
    sure = 2.0 * numbers - 1
    without, everywhere, swapped = sure.clone(), sure.clone(), sure[:, [0, 3, 2, 1]]
    without[:, 3], everywhere[:, 3] = -3, 3
    same = Towards(label)
    for objective, logits in ((Erase(3), without), (Grow(3), everywhere), (Swap(1, 3), swapped), (same, sure)):
        assert (objective(logits, label) == 0).all(), objective
        assert (objective(-logits, label) < 0).all(), objective
        # Decided as wished, but closer to the boundary than the cap.
        assert (objective(0.1 * logits, label) < 0).all(), objective


@pytest.mark.parametrize("regions", [False, True])
def test_a_batch_equals_its_samples(regions):
    logits, label = _sample(4, (6, 5), regions=regions)
    for objective in _objectives(4, (6, 5), regions=regions):
        singles = [objective(logits[i : i + 1], label[i : i + 1]) for i in range(3)]
        torch.testing.assert_close(objective(logits, label), torch.cat(singles))


@pytest.mark.parametrize("make", [lambda i: Erase(2, ignore_index=i), lambda i: Grow(2, ignore_index=i)])
def test_ignored_voxels_count_as_if_cropped(make):
    logits, label = _sample(4, (6, 5), regions=False)
    marked = label.clone()
    marked[:, :2], marked[:, 2] = 9, -1
    torch.testing.assert_close(make(9)(logits, marked), make(None)(logits[:, :, 3:], label[:, 3:]))


def test_ignored_voxels_count_as_if_cropped_in_labels_and_masks():
    logits, label = _sample(4, (6, 5), regions=False)
    mask = _mask(4, (6, 5), regions=False)
    marked, free = label.clone(), mask.clone()
    marked[:, :2], free[:, 2] = 9, -1
    rest = (logits[:, :, 3:], label[:, 3:])
    logits.requires_grad_()
    found = Towards(free, ignore_index=9)(logits, marked)
    torch.testing.assert_close(found, Towards(mask[:, 3:])(*rest))
    free[:, 2] = 9
    torch.testing.assert_close(Towards(free, ignore_index=9)(logits, marked), found)
    (gradient,) = torch.autograd.grad(found.sum(), logits)
    assert gradient[:, :, :3].abs().max() == 0
    marked[:, 2] = -1
    torch.testing.assert_close(Swap(1, 2, ignore_index=9)(logits, marked), Swap(1, 2)(*rest))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_sample_without_valid_voxels_gives_zero_and_no_gradient(channels):
    logits = torch.randn(2, channels, 4, 4, requires_grad=True)
    label = torch.ones(2, 4, 4, dtype=torch.long)
    label[0] = -1
    objectives = _objectives(channels, (4, 4), regions=False) if channels > 1 else [Erase(0), Grow(0), Towards(label)]
    for objective in objectives:
        value = objective(logits, label)
        (gradient,) = torch.autograd.grad(value.sum(), logits)
        assert value[0] == 0
        assert (gradient[0] == 0).all()
        assert torch.isfinite(gradient).all()


def test_swap_of_structures_that_the_label_lacks_is_zero():
    logits, label = torch.randn(2, 4, 5, 5), torch.zeros(2, 5, 5, dtype=torch.long)
    label[1, 2, 2] = 3
    found = Swap(2, 3)(logits, label)
    assert found[0] == 0
    assert found[1].item() == pytest.approx(_reached(_gain(logits[1, :, 2, 2].tolist(), 2)), rel=1e-5)


@pytest.mark.parametrize("regions", [False, True])
def test_gradient_equals_finite_differences(regions):
    logits, label = _sample(3, (2, 3), regions=regions, dtype=torch.float64)
    logits.requires_grad_()
    for objective in _objectives(3, (2, 3), regions=regions):
        assert torch.autograd.gradcheck(lambda z, o=objective: o(z, label), logits)


@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize("factor", [1000.0, 1e-30, 0.0])
def test_extreme_logits_are_finite(regions, factor):
    logits, label = _sample(4, (6, 5), regions=regions)
    logits = (logits * factor).requires_grad_()
    for objective in _objectives(4, (6, 5), regions=regions):
        value = objective(logits, label)
        (gradient,) = torch.autograd.grad(value.sum(), logits)
        assert torch.isfinite(value).all()
        assert torch.isfinite(gradient).all()
        assert gradient.abs().max() > 0


def test_swap_follows_a_label_that_moves():
    logits, label = _sample(4, (6, 5), regions=False)
    target = encode(logits, label)
    soft = target.onehot.float().requires_grad_()
    value = Swap(1, 3).of(logits, Target(target.onehot, target.valid, target.regions, soft))
    torch.testing.assert_close(value, Swap(1, 3)(logits, label))
    (gradient,) = torch.autograd.grad(value.sum(), soft)
    assert torch.isfinite(gradient).all()
    assert gradient[:, [1, 3]].abs().max() > 0


def test_one_mask_serves_all_samples_and_one_for_each_is_told_apart():
    logits, label = _sample(3, (4, 5), regions=False)
    own = torch.stack([_mask(3, (4, 5), regions=False, seed=i)[0] for i in range(3)])
    found = Towards(own)(logits, label)
    singles = [Towards(own[i : i + 1])(logits[i : i + 1], label[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(found, torch.cat(singles))
    torch.testing.assert_close(Towards(own[:1])(logits, label)[2], Towards(own[:1])(logits[2:], label[2:])[0])
    torch.testing.assert_close(Towards(own[:, None])(logits, label), found)


def test_classifiers_can_be_led_to_a_class():
    logits, label = torch.tensor([[3.0, 0.0, 1.0]]), torch.tensor([0])
    assert Towards(torch.tensor([2]))(logits, label).item() == pytest.approx(-math.log(1 + 0.5 + 2))


# What attacks reach.


def _attack(objective, eps=0.25):
    model, image, label = trained_model()
    with torch.no_grad():
        clean = model(image).argmax(1)
    result = PGD(L2(eps, unit="rms"), steps=20, objective=objective)(model, image, label)
    return result, clean, result.prediction, label


def _volume(prediction):
    return (prediction == 1).flatten(1).sum(1)


def test_erase_shrinks_the_predicted_structure():
    result, clean, found, _ = _attack(Erase(1))
    assert (_volume(found) <= 0.5 * _volume(clean)).all()
    assert (result.objective > result.objective_clean).all()


def test_grow_paints_the_structure():
    result, clean, found, _ = _attack(Grow(1))
    assert (_volume(found) > 1.5 * _volume(clean)).all()
    assert (result.objective > result.objective_clean).all()


def test_towards_brings_the_prediction_to_the_mask():
    mask = torch.zeros(1, 16, 16, dtype=torch.long)
    mask[0, 10:, 10:] = 1
    result, clean, found, _ = _attack(Towards(mask))
    assert ((found == mask).flatten(1).sum(1) > (clean == mask).flatten(1).sum(1)).all()
    assert (result.objective > result.objective_clean).all()


def test_swap_exchanges_two_structures_and_leaves_the_rest():
    def model(image):  # channel 1 shows structure 1, channel 2 structure 2
        return torch.cat([torch.full_like(image[:, :1], 0.5), image], 1)

    label = torch.zeros(1, 8, 8, dtype=torch.long)
    label[0, 1:4, 1:4], label[0, 5:7, 2:7] = 1, 2
    image = torch.nn.functional.one_hot(label, 3).movedim(-1, 1)[:, 1:].float()
    # No random start: it would disturb voxels that the objective leaves alone.
    result = IFGSM(L2(1.0, unit="rms"), steps=20, objective=Swap(1, 2))(model, image, label)
    assert torch.equal(result.prediction, torch.tensor([0, 2, 1])[label])
    assert result.objective.item() > -0.3


def test_one_mask_serves_attacks_that_drop_finished_samples():
    model, image, label = trained_model()
    target = Towards(torch.zeros(1, 16, 16, dtype=torch.long))
    attack = PGD(L2(0.25, unit="rms"), steps=20, objective=target)
    result = attack(model, image, label, criterion=DiceBelow(0.5, relative=True))
    assert result.success.any()
    own = PGD(L2(0.25, unit="rms"), steps=20, objective=Towards(torch.zeros_like(label)))
    with pytest.raises(ValueError, match="attacks drop finished samples"):
        own(model, image, label, criterion=DiceBelow(0.5, relative=True))


def test_they_say_that_they_are_targeted():
    found = {cls.__name__ for cls in Objective.known().values() if cls.targeted}
    assert found == {"Erase", "Grow", "Swap", "Towards"}
    assert repr(Objective.build({"name": "erase", "structure": 2})).startswith("Erase(structure=2, cap=0.5")
    assert repr(Objective.build({"name": "swap", "first": 1, "second": 2})).startswith(
        "Swap(first=1, second=2, cap=0.5"
    )


# What is refused.


@pytest.mark.parametrize("make", [Erase, Grow])
@pytest.mark.parametrize("structure", [0, 3])
def test_a_structure_that_the_model_lacks(make, structure):
    logits, label = _sample(3, (4, 4), regions=False)
    with pytest.raises(
        ValueError, match=rf"structure must be in 1\.\.2, .* got {structure}\. Class 0 is the background"
    ):
        make(structure)(logits, label)


def test_a_channel_that_the_model_lacks():
    logits, label = _sample(3, (4, 4), regions=True)
    assert torch.isfinite(Erase(0)(logits, label)).all()
    with pytest.raises(ValueError, match=r"structure must be in 0\.\.2, the model's foreground, got 3\.$"):
        Erase(3)(logits, label)
    with pytest.raises(ValueError, match=r"second must be in 0\.\.2"):
        Swap(0, 3)(logits, label)


def test_structures_that_make_no_sense():
    logits, label = _sample(3, (4, 4), regions=False)
    with pytest.raises(ValueError, match=r"first must be in 1\.\.2"):
        Swap(0, 1)(logits, label)
    with pytest.raises(ValueError, match=r"second must be another structure than first \(1\), got 1"):
        Swap(1, 1)
    for wrong in (-1, 1.0, True, "liver"):
        with pytest.raises(ValueError, match="structure must be a whole number >= 0, the index of a channel, got"):
            Erase(wrong)
    with pytest.raises(ValueError, match=r"cap must be >= 0 \(logits\), got -1"):
        Grow(1, cap=-1)


def test_masks_that_do_not_fit():
    logits, label = _sample(3, (4, 5), regions=False)
    with pytest.raises(ValueError, match=r"mask must be integer.*got torch.float32. Use mask.long\(\)"):
        Towards(torch.zeros(1, 4, 5))
    with pytest.raises(ValueError, match="one for each of the 3 .* got 2. Attack samples one by one"):
        Towards(torch.zeros(2, 4, 5, dtype=torch.long))(logits, label)
    with pytest.raises(ValueError, match=r"mask must fit the logits \(3, 3, 4, 5\), got \(1, 5, 4\): label must be"):
        Towards(torch.zeros(1, 5, 4, dtype=torch.long))(logits, label)
    with pytest.raises(ValueError, match=r"mask must fit .* label must be below the number of classes \(3\), got 3"):
        Towards(torch.full((1, 4, 5), 3))(logits, label)
    with pytest.raises(ValueError, match=r"mask must be integer, as the label, got torch.bool"):
        Towards(torch.zeros(1, 3, 4, 5, dtype=torch.bool))(logits, label)
    with pytest.raises(ValueError, match=r"mask must be boolean of the logits' shape, as the label, got torch.int64"):
        Towards(torch.zeros(1, 4, 5, dtype=torch.long))(*_sample(3, (4, 5), regions=True))
