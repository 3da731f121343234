"""The voxels nearest to flipping, against a loop over sorted gaps."""

from __future__ import annotations

import math

import pytest
import torch

from imaseg import Dice, WeakestVoxels


def _gaps(logits, label, regions):
    """Distance of each voxel (B, N) from flipping, negative where it is wrong."""
    if regions:
        return (logits * (2 * label - 1)).flatten(2).amin(1)
    flat, truth = logits.flatten(2), label.flatten(1)
    rows = []
    for sample in range(len(flat)):
        others = [[float(z) for k, z in enumerate(flat[sample, :, n]) if k != y] for n, y in enumerate(truth[sample])]
        rows.append([float(flat[sample, y, n]) - max(others[n]) for n, y in enumerate(truth[sample])])
    return torch.tensor(rows)


@pytest.mark.parametrize("regions", [False, True], ids=["softmax", "regions"])
@pytest.mark.parametrize("fraction", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("shape", [(9, 7), (3, 4, 5)])
def test_it_is_the_mean_of_the_smallest_gaps_still_open(shape, fraction, regions):
    torch.manual_seed(0)
    logits = torch.randn(3, 3, *shape)
    label = torch.rand(3, 3, *shape) > 0.5 if regions else torch.randint(3, (3, *shape))
    found = WeakestVoxels(fraction)(logits, label)
    for value, gaps in zip(found, _gaps(logits, label.long(), regions), strict=True):
        standing = sorted(gap for gap in gaps.tolist() if gap >= 0)
        weakest = standing[: math.floor(fraction * len(gaps)) + 1]
        assert float(value) == pytest.approx(-sum(weakest) / len(weakest), rel=1e-5)


def test_only_the_weakest_voxel_has_a_gradient():
    logits = torch.tensor([[[3.0, 1.0, 0.0], [1.0, 0.5, 9.0]]], requires_grad=True)
    WeakestVoxels()(logits, torch.tensor([[0, 0, 1]])).sum().backward()
    assert logits.grad.tolist() == [[[0.0, -1.0, 0.0], [0.0, 1.0, 0.0]]]


def test_a_sample_without_a_voxel_left_to_flip_is_worth_nothing():
    logits = torch.tensor([[[0.0, 0.0], [1.0, 1.0]]])
    assert WeakestVoxels()(logits, torch.tensor([[0, -1]])).tolist() == [0.0]


def test_classes_leave_the_other_voxels_alone():
    logits = torch.tensor([[[3.0, 1.0, 0.0], [1.0, 0.5, 9.0]]])
    assert WeakestVoxels(classes=[1])(logits, torch.tensor([[0, 0, 1]])).tolist() == [-9.0]


def test_dice_of_single_classes_averages_to_dice():
    torch.manual_seed(1)
    logits, label = torch.randn(2, 4, 6, 6), torch.randint(4, (2, 6, 6))
    alone = torch.stack([Dice(classes=[k])(logits, label) for k in (1, 2, 3)])
    torch.testing.assert_close(alone.mean(0), Dice()(logits, label))


@pytest.mark.parametrize("classes", [[3], [-1], []])
@pytest.mark.parametrize("objective", [Dice, WeakestVoxels])
def test_a_class_that_the_model_lacks_is_refused(objective, classes):
    with pytest.raises(ValueError, match="classes must name some of the 3 channels"):
        objective(classes=classes)(torch.randn(1, 3, 4), torch.zeros(1, 4, dtype=torch.long))


def test_fraction_must_be_below_one():
    with pytest.raises(ValueError, match=r"fraction must be in \[0, 1\), got 1"):
        WeakestVoxels(1.0)
