"""Criteria on hand-made predictions."""

from __future__ import annotations

import pytest
import torch

from imaseg.margins import Criterion, DiceBelow, Misclassified, VoxelsFlipped


def _logits(decided, classes=3):
    return torch.nn.functional.one_hot(torch.tensor(decided), classes).movedim(-1, 1).float()


LABEL = torch.tensor([[0, 1, 1, 1]])
CLEAN = _logits([[0, 1, 1, 0]])


def test_dice_below_uses_the_mean_over_foreground_classes():
    # Class 1: 2*2/(3+2) = 0.8; class 2 is empty on both sides and scores 1; mean 0.9.
    assert not DiceBelow(0.9)(CLEAN, LABEL, CLEAN).item()
    assert DiceBelow(0.91)(CLEAN, LABEL, CLEAN).item()


def test_a_painted_structure_counts():
    painted = _logits([[2, 1, 1, 1]])
    assert DiceBelow(0.51)(painted, LABEL, CLEAN).item()
    assert not DiceBelow(0.49)(painted, LABEL, CLEAN).item()


def test_relative_dice_compares_with_the_clean_one():
    # Clean 0.9, now class 1 2*1/(3+1) = 0.5, mean 0.75 = 0.833 of clean.
    now = _logits([[0, 1, 0, 0]])
    assert DiceBelow(0.84, relative=True)(now, LABEL, CLEAN).item()
    assert not DiceBelow(0.83, relative=True)(now, LABEL, CLEAN).item()


@pytest.mark.parametrize(("fraction", "broken"), [(0.0, True), (0.3, True), (0.34, False)])
def test_voxels_flipped_counts_initially_right_voxels_only(fraction, broken):
    # Three voxels were right; one of them flips. The voxel that was wrong stays out of it.
    now = _logits([[0, 1, 0, 2]])
    assert VoxelsFlipped(fraction)(now, LABEL, CLEAN).item() is broken


def test_classes_are_judged_by_themselves():
    # Class 1 loses all three voxels, class 2 is painted; class 0 keeps its one.
    now = _logits([[0, 2, 2, 2]])
    assert DiceBelow(0.1, classes=[1])(now, LABEL, CLEAN).item()
    assert not DiceBelow(0.9, classes=[0])(now, LABEL, CLEAN).item()
    assert VoxelsFlipped(0.5, classes=[1])(now, LABEL, CLEAN).item()
    assert not VoxelsFlipped(0.0, classes=[0])(now, LABEL, CLEAN).item()
    assert repr(DiceBelow(0.1, classes=[1])) == "Dice below 0.1 (class 1)"


def test_relative_dice_of_a_class_compares_with_its_own():
    # Class 1 falls from 0.8 to 2*1/(3+1) = 0.5, 0.625 of it.
    now = _logits([[0, 1, 0, 0]])
    assert DiceBelow(0.63, relative=True, classes=[1])(now, LABEL, CLEAN).item()
    assert not DiceBelow(0.62, relative=True, classes=[1])(now, LABEL, CLEAN).item()


def test_a_class_that_the_model_lacks_is_refused():
    with pytest.raises(ValueError, match="classes must name some of the 3 channels"):
        DiceBelow(0.5, classes=[3])(CLEAN, LABEL, CLEAN)


def test_any_voxel_means_more_than_none():
    assert not VoxelsFlipped(0.0)(CLEAN, LABEL, CLEAN).item()


def test_misclassified_is_for_classifiers():
    logits = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    assert Misclassified()(logits, torch.tensor([0, 1]), logits).tolist() == [False, True]


@pytest.mark.parametrize("criterion", [DiceBelow(0.99), VoxelsFlipped(0.0), Misclassified()])
def test_ignored_voxels_do_not_break_a_case(criterion):
    label = torch.tensor([[0, 1, 1, -1]])
    other = _logits([[0, 1, 1, 2]])
    assert not criterion(other, label, CLEAN).item()


@pytest.mark.parametrize("criterion", [DiceBelow(0.6), VoxelsFlipped(0.2), Misclassified()])
def test_samples_are_judged_one_by_one(criterion):
    torch.manual_seed(0)
    logits, clean, label = torch.randn(4, 3, 5, 5), torch.randn(4, 3, 5, 5), torch.randint(3, (4, 5, 5))
    together = criterion(logits, label, clean)
    alone = torch.cat([criterion(logits[i : i + 1], label[i : i + 1], clean[i : i + 1]) for i in range(4)])
    assert torch.equal(together, alone)


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"name": "dice-below", "threshold": 0.0}, r"threshold must be in \(0, 1\], got 0"),
        ({"name": "dice-below", "threshold": 1.2}, r"threshold must be in \(0, 1\], got 1.2"),
        ({"name": "voxels-flipped", "fraction": 1.0}, r"fraction must be in \[0, 1\), got 1.0"),
    ],
)
def test_nonsense_is_refused(spec, text):
    with pytest.raises(ValueError, match=text):
        Criterion.build(spec)
