"""Objectives that are sums over voxels, against loops over voxels written from their papers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon
from scipy.special import expit, log_softmax, softmax

from imaseg.objectives import (
    BalancedMaskedCE,
    CosPGDLoss,
    CrossEntropy,
    JensenShannon,
    LogitMargin,
    MaskedCE,
    MaskedSpherical,
    Objective,
    SegPGDLoss,
)
from imaseg.scores import Target, encode

ALL = [
    MaskedCE(),
    BalancedMaskedCE(),
    SegPGDLoss(),
    CosPGDLoss(),
    JensenShannon(),
    MaskedSpherical(),
    LogitMargin(),
    LogitMargin(balanced=False),
    LogitMargin(cap=None),
]
every = pytest.mark.parametrize("objective", ALL, ids=repr)


def every_but(left_out):
    return pytest.mark.parametrize("objective", [o for o in ALL if not isinstance(o, left_out)], ids=repr)


PROGRESS = 0.3


def _two(z, inside):
    """A channel of a region-based model as two logits and the class."""
    return np.array([0.0, z]), int(inside)


def _voxel(objective, z, y):
    """Value of one voxel with logits z and label y."""
    ce, right = -log_softmax(z)[y], float(np.argmax(z) == y)
    p, onehot = softmax(z), np.eye(len(z))[y]
    match objective:
        case MaskedCE() | BalancedMaskedCE():
            return right * ce
        case SegPGDLoss():
            lam = PROGRESS / 2
            return ((1 - lam) * right + lam * (1 - right)) * ce
        case CosPGDLoss():
            return p @ onehot / (np.linalg.norm(p) * np.linalg.norm(onehot)) * ce
        case JensenShannon():
            return jensenshannon(p, onehot) ** 2
        case MaskedSpherical():
            return -right * z[y] / np.linalg.norm(z)
        case LogitMargin(cap=cap):
            margin = max(z[j] for j in range(len(z)) if j != y) - z[y]
            return margin if cap is None else min(margin, cap)
    raise AssertionError(objective)


def _channel(objective, z, inside):
    """Value of one channel of a region-based model at one voxel."""
    if isinstance(objective, MaskedSpherical):
        p = expit(z) if inside else expit(-z)
        return -float((z > 0) == inside) * p / math.hypot(p, 1 - p)
    return _voxel(objective, *_two(z, inside))


def _mean(objective, values, classes):
    """Mean over voxels, or over classes of each one's mean."""
    balanced = isinstance(objective, BalancedMaskedCE) or getattr(objective, "balanced", False)
    if not balanced:
        return np.mean(values)
    return np.mean([np.mean([v for v, y in zip(values, classes, strict=True) if y == k]) for k in sorted(set(classes))])


def _reference(objective, logits, label):
    """One sample (K, *spatial), integer label with -1 for ignored voxels."""
    z, y = logits.numpy().reshape(len(logits), -1).astype(float), label.numpy().reshape(-1)
    kept = [n for n in range(len(y)) if y[n] >= 0]
    return _mean(objective, [_voxel(objective, z[:, n], y[n]) for n in kept], [y[n] for n in kept])


def _reference_of_regions(objective, logits, label):
    z, y = (values.numpy().reshape(len(logits), -1) for values in (logits.double(), label))
    return np.mean(
        [
            _mean(objective, [_channel(objective, *pair) for pair in zip(*channel, strict=True)], list(channel[1]))
            for channel in zip(z, y, strict=True)
        ]
    )


def _sample(classes, shape, *, batch=3, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(batch, classes, *shape, generator=generator, dtype=torch.float64).to(dtype)
    return logits, torch.randint(classes, (batch, *shape), generator=generator)


@every
@pytest.mark.parametrize("shape", [(), (5,), (6, 5), (3, 4, 2)])
@pytest.mark.parametrize("classes", [2, 5, 100])
def test_equals_a_loop_over_voxels(objective, shape, classes):
    logits, label = _sample(classes, shape)
    if shape:
        label[1].view(-1)[:2] = -1
    found = objective(logits, label, PROGRESS)
    expected = [_reference(objective, z, y) for z, y in zip(logits, label, strict=True)]
    np.testing.assert_allclose(found.numpy(), expected, rtol=2e-5, atol=1e-6)


@every
@pytest.mark.parametrize("shape", [(6, 5), (3, 4, 2)])
@pytest.mark.parametrize("channels", [1, 3])
def test_regions_equal_a_loop_over_channels_and_voxels(objective, shape, channels):
    logits, label = _sample(channels, shape)
    label = torch.randn(label.shape[0], channels, *shape, generator=torch.Generator().manual_seed(1)) > 0.5
    label[0, 0] = False  # an empty channel has one class only
    label[1, -1] = True
    found = objective(logits, label, PROGRESS)
    expected = [_reference_of_regions(objective, z, y) for z, y in zip(logits, label, strict=True)]
    np.testing.assert_allclose(found.numpy(), expected, rtol=2e-5, atol=1e-6)


@every_but(MaskedSpherical)  # it takes probabilities there
def test_a_channel_is_a_softmax_over_itself_and_zero(objective):
    logits, label = _sample(1, (4, 5), dtype=torch.float64)
    label = (logits[:, 0] + torch.randn(3, 4, 5) > 0).long()
    pair = torch.cat([torch.zeros_like(logits), logits], 1)
    torch.testing.assert_close(objective(logits, label, PROGRESS), objective(pair, label, PROGRESS))


@every
def test_a_batch_equals_its_samples(objective):
    for logits, label in (_sample(4, (5, 6)), (torch.randn(3, 2, 5, 6), torch.rand(3, 2, 5, 6) > 0.7)):
        singles = [objective(logits[i : i + 1], label[i : i + 1], PROGRESS) for i in range(3)]
        torch.testing.assert_close(objective(logits, label, PROGRESS), torch.cat(singles))


@every
@pytest.mark.parametrize("channels", [1, 4])
def test_ignored_voxels_count_as_if_cropped(objective, channels):
    logits, label = _sample(channels, (6, 5))
    label = torch.randint(max(channels, 2), label.shape, generator=torch.Generator().manual_seed(3))
    ignoring = type(objective)(**{k: v for k, v in vars(objective).items() if k in ("cap", "balanced")}, ignore_index=9)
    marked = label.clone()
    marked[:, :2], marked[:, 2] = 9, -1
    logits.requires_grad_()
    found = ignoring(logits, marked, PROGRESS)
    torch.testing.assert_close(found, objective(logits[:, :, 3:], label[:, 3:], PROGRESS))
    (gradient,) = torch.autograd.grad(found.sum(), logits)
    assert gradient[:, :, :3].abs().max() == 0
    assert gradient[:, :, 3:].abs().max() > 0


@every
@pytest.mark.parametrize("channels", [1, 3])
def test_a_sample_without_valid_voxels_gives_zero_and_no_gradient(objective, channels):
    logits = torch.randn(2, channels, 4, 4, requires_grad=True)
    label = torch.ones(2, 4, 4, dtype=torch.long)
    label[0] = -1
    value = objective(logits, label)
    (gradient,) = torch.autograd.grad(value.sum(), logits)
    assert value[0] == 0
    assert (gradient[0] == 0).all()
    assert torch.isfinite(gradient).all()


@every_but(CosPGDLoss)  # its weight has no gradient by definition, tested below
@pytest.mark.parametrize("regions", [False, True])
def test_gradient_equals_finite_differences(objective, regions):
    logits, label = _sample(3, (2, 3), batch=2, seed=5, dtype=torch.float64)
    label = torch.randn(2, 3, 2, 3) > 0 if regions else label
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda z: objective(z, label, PROGRESS), logits)


@every
@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize("factor", [1000.0, 1e-30, 0.0])
def test_extreme_logits_are_finite(objective, regions, factor):
    logits, label = _sample(4, (6, 5))
    label = torch.rand(3, 4, 6, 5) > 0.5 if regions else label
    logits = (logits * factor).requires_grad_()
    value = objective(logits, label, PROGRESS)
    (gradient,) = torch.autograd.grad(value.sum(), logits)
    assert torch.isfinite(value).all()
    assert torch.isfinite(gradient).all()
    assert gradient.abs().max() <= 1


@every
@pytest.mark.parametrize("regions", [False, True])
def test_a_label_in_numbers_gives_the_same_and_carries_a_gradient(objective, regions):
    logits, label = _sample(4, (6, 5))
    target = encode(logits, torch.rand(3, 4, 6, 5) > 0.5 if regions else label)
    soft = target.onehot.float().requires_grad_()
    value = objective.of(logits, Target(target.onehot, target.valid, regions, soft), PROGRESS)
    torch.testing.assert_close(value, objective.of(logits, target, PROGRESS))
    (gradient,) = torch.autograd.grad(value.sum(), soft)
    assert torch.isfinite(gradient).all()
    assert gradient.abs().max() > 0


@every
def test_printing_it_gives_the_call_that_makes_it(objective):
    again = eval(repr(objective))
    assert type(again) is type(objective)
    assert vars(again) == vars(objective)


def test_names_on_the_command_line():
    names = {type(objective): objective.name for objective in ALL}
    assert (names[SegPGDLoss], names[CosPGDLoss]) == ("segpgd", "cospgd")
    assert (names[BalancedMaskedCE], names[LogitMargin]) == ("balanced-masked-ce", "logit-margin")
    assert repr(Objective.build({"name": "logit-margin", "cap": 1.5})).startswith("LogitMargin(cap=1.5, balanced=True")


# What sets each of them apart.


def _right_wrong():
    """Two voxels of class 0: the first is right, the second wrong; binary cross-entropies 0.3133 and 1.3133."""
    return torch.tensor([[[0.0, 0.0], [-1.0, 1.0]]], requires_grad=True), torch.tensor([[0, 0]])


@pytest.mark.parametrize("objective", [MaskedCE(), BalancedMaskedCE(), MaskedSpherical()], ids=repr)
@pytest.mark.parametrize("regions", [False, True])
def test_masked_objectives_leave_wrong_voxels_alone(objective, regions):
    logits, label = _sample(3, (6, 5))
    label = torch.rand(3, 3, 6, 5) > 0.5 if regions else label
    logits.requires_grad_()
    (gradient,) = torch.autograd.grad(objective(logits, label).sum(), logits)
    wrong = (logits > 0) != label if regions else (logits.argmax(1) != label)[:, None].expand_as(logits)
    assert wrong.any()
    assert (~wrong).any()
    assert gradient[wrong].abs().max() == 0
    assert (gradient[~wrong] != 0).all()


def test_a_flip_removes_the_voxels_term():
    label = torch.zeros(1, 4, dtype=torch.long)
    logits = torch.tensor([[[0.0, 0.0, 0.0, 0.0], [-1.0, -1.0, -1e-6, 1e-6]]])
    assert MaskedCE()(logits, label).item() == pytest.approx((2 * 0.3132617 + math.log(2)) / 4, rel=1e-5)


def test_balance_gives_a_small_structure_the_weight_of_the_background():
    logits = torch.zeros(1, 2, 10, 10, requires_grad=True)
    label = torch.zeros(1, 10, 10, dtype=torch.long)
    label[0, 3, 3] = 1
    right = torch.nn.functional.one_hot(label, 2).movedim(-1, 1).float()
    for objective in (BalancedMaskedCE(), LogitMargin(cap=None)):
        (gradient,) = torch.autograd.grad(objective(logits + 3 * right, label).sum(), logits)
        weight = gradient.abs().sum(1)
        assert weight[label == 1].sum().item() == pytest.approx(weight[label == 0].sum().item(), rel=1e-4)


def test_an_absent_class_takes_no_share():
    logits, label = torch.randn(1, 5, 6, 6), torch.full((1, 6, 6), 3)
    torch.testing.assert_close(BalancedMaskedCE()(logits, label), MaskedCE()(logits, label))
    torch.testing.assert_close(LogitMargin()(logits, label), LogitMargin(balanced=False)(logits, label))


def test_balance_of_regions_counts_in_and_out_alike():
    logits = torch.tensor([[[2.0, -1.0, -1.0, -1.0]]])
    label = torch.tensor([[[True, False, False, False]]])
    assert LogitMargin(cap=None)(logits, label).item() == pytest.approx((-2 - 1) / 2)
    assert LogitMargin(cap=None, balanced=False)(logits, label).item() == pytest.approx((-2 - 3) / 4)
    assert LogitMargin(cap=None)(logits, torch.zeros_like(label)).item() == pytest.approx((2 - 3) / 4)


@pytest.mark.parametrize(("progress", "right", "wrong"), [(0.0, 1.0, 0.0), (0.5, 0.75, 0.25), (1.0, 0.5, 0.5)])
def test_segpgd_shifts_from_right_to_wrong_voxels(progress, right, wrong):
    logits, label = _right_wrong()
    value = SegPGDLoss()(logits, label, progress)
    assert value.item() == pytest.approx((right * 0.3132617 + wrong * 1.3132617) / 2, rel=1e-5)


def test_segpgd_starts_as_masked_and_ends_as_half_the_cross_entropy():
    logits, label = _sample(4, (6, 5))
    torch.testing.assert_close(SegPGDLoss()(logits, label, 0.0), MaskedCE()(logits, label))
    torch.testing.assert_close(SegPGDLoss()(logits, label, 1.0), CrossEntropy()(logits, label) / 2)


@pytest.mark.parametrize("regions", [False, True])
def test_the_cosine_of_cospgd_is_held_still(regions):
    """Its gradient is that of the cross-entropy, voxel by voxel times the cosine."""
    logits, label = _sample(3, (4, 4), batch=1, dtype=torch.float64)
    label = torch.rand(1, 3, 4, 4) > 0.5 if regions else label
    logits.requires_grad_()
    (gradient,) = torch.autograd.grad(CosPGDLoss()(logits, label).sum(), logits)
    (plain,) = torch.autograd.grad(CrossEntropy()(logits, label).sum(), logits)
    with torch.no_grad():
        if regions:
            pair = torch.stack([torch.zeros_like(logits), logits], -1).softmax(-1)
            weight = torch.cosine_similarity(pair, torch.stack([~label, label], -1).double(), dim=-1)
        else:
            onehot = torch.nn.functional.one_hot(label, 3).movedim(-1, 1).double()
            weight = torch.cosine_similarity(logits.softmax(1), onehot, dim=1)[:, None]
    torch.testing.assert_close(gradient, plain * weight)


def test_jensen_shannon_lies_between_zero_and_log_two():
    sure = torch.tensor([[[60.0], [-60.0]], [[0.0], [0.0]], [[-60.0], [60.0]]])
    found = JensenShannon()(sure, torch.zeros(3, 1, dtype=torch.long))
    half = math.log(2) + (0.5 * math.log(0.5) - 1.5 * math.log(1.5)) / 2
    torch.testing.assert_close(found, torch.tensor([0.0, half, math.log(2)]))


def test_jensen_shannon_keeps_its_digits_where_the_model_is_sure():
    """About (1 - p) log(2) / 2 there; the closed form in p would round to multiples of 6e-8."""
    found = JensenShannon()(torch.tensor([[[14.0]]]), torch.ones(1, 1, dtype=torch.long))
    assert found.item() == pytest.approx(expit(-14.0) * math.log(2) / 2, rel=1e-4)


def test_spherical_does_not_see_the_length_of_the_logits():
    logits, label = _sample(4, (6, 5))
    torch.testing.assert_close(MaskedSpherical()(logits * 7, label), MaskedSpherical()(logits, label))


def test_spherical_of_a_zero_logit_vector_is_zero_without_gradient():
    logits = torch.zeros(1, 2, 1, requires_grad=True)
    value = MaskedSpherical()(logits, torch.tensor([[0]]))
    (gradient,) = torch.autograd.grad(value.sum(), logits)
    assert value == 0
    assert (gradient == 0).all()


def test_capped_voxels_stop_pulling():
    logits = torch.tensor([[[0.0, 0.0, 0.0], [-2.0, 0.4, 0.6]]], requires_grad=True)
    label = torch.zeros(1, 3, dtype=torch.long)
    value = LogitMargin(cap=0.5)(logits, label)
    (gradient,) = torch.autograd.grad(value.sum(), logits)
    assert value.item() == pytest.approx((-2 + 0.4 + 0.5) / 3)
    torch.testing.assert_close(gradient, torch.tensor([[[-1.0, -1.0, 0.0], [1.0, 1.0, 0.0]]]) / 3)


def test_equals_share_the_margin():
    logits = torch.full((1, 3, 1), 2.0, requires_grad=True)
    value = LogitMargin()(logits, torch.tensor([[0]]))
    (gradient,) = torch.autograd.grad(value.sum(), logits)
    assert value == 0
    assert gradient.flatten().tolist() == [-1.0, 0.5, 0.5]


def test_the_margin_pulls_where_softmax_has_saturated():
    logits = torch.tensor([[[200.0], [0.0]]], requires_grad=True)
    label = torch.tensor([[0]])
    (margin,) = torch.autograd.grad(LogitMargin()(logits, label).sum(), logits)
    (entropy,) = torch.autograd.grad(CrossEntropy()(logits, label).sum(), logits)
    assert entropy.abs().max() == 0
    assert margin.flatten().tolist() == [-1.0, 1.0]


@pytest.mark.parametrize("cap", [-0.1, math.nan])
def test_cap_must_not_be_negative(cap):
    with pytest.raises(ValueError, match=r"cap must be >= 0 \(logits\) or None, got"):
        LogitMargin(cap=cap)
