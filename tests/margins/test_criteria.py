"""Criteria on hand-made predictions."""

from __future__ import annotations

import pytest
import torch

from imaseg import IMA, L2, SampleMargin
from imaseg.margins import Criterion, DiceBelow, MaxDiceBelow, Misclassified, VoxelsFlipped


def _logits(decided, classes=3):
    return torch.nn.functional.one_hot(torch.tensor(decided), classes).movedim(-1, 1).float()


LABEL = torch.tensor([[0, 1, 1, 1]])
CLEAN = _logits([[0, 1, 1, 0]])


def test_dice_below_uses_the_mean_over_the_classes_in_the_label():
    # Class 1: 2*2/(3+2) = 0.8; class 2 is in neither and does not count.
    assert not DiceBelow(0.8)(CLEAN, LABEL, CLEAN).item()
    assert DiceBelow(0.81)(CLEAN, LABEL, CLEAN).item()
    # Counted, it scores 1: mean 0.9.
    assert not DiceBelow(0.9, absent="count")(CLEAN, LABEL, CLEAN).item()
    assert DiceBelow(0.91, absent="count")(CLEAN, LABEL, CLEAN).item()


@pytest.mark.parametrize(
    ("absent", "voxel", "broken"),
    [
        ("ignore", 1.0, False),
        ("count", 1.0, True),
        (0.0, 1.0, True),
        (0.9, 1.0, True),
        (1.0, 1.0, False),
        (3.9, 4.0, True),
        (4.0, 4.0, False),
        (100.0, 1.0, False),
    ],
)
def test_a_voxel_of_a_class_that_the_label_lacks(absent, voxel, broken):
    # Class 1 is all right; one voxel of class 2, in neither before, halves the mean over both.
    painted = _logits([[2, 1, 1, 1]])
    assert DiceBelow(0.51, absent=absent).in_voxels_of(voxel)(painted, LABEL, CLEAN).item() is broken


def test_one_voxel_breaks_no_case_by_default():
    painted = _logits([[2, 1, 1, 1]])
    assert not DiceBelow(0.99)(painted, LABEL, CLEAN).item()
    assert not SampleMargin(L2(1.0)).criterion(painted, LABEL, CLEAN).item()
    assert not IMA(None, L2(1.0)).criterion(painted, LABEL, CLEAN).item()


def test_a_label_without_structures_is_broken_by_volume_alone():
    empty, found = torch.zeros(1, 4, dtype=torch.long), _logits([[0, 1, 2, 2]])
    assert not DiceBelow(1.0, absent=3.0)(found, empty, found).item()
    assert DiceBelow(0.1, absent=2.9)(found, empty, found).item()
    assert not DiceBelow(1.0, absent="ignore")(found, empty, found).item()
    # Relative to the clean prediction, only what is added counts.
    assert not DiceBelow(0.1, relative=True, absent=2.9)(found, empty, found).item()
    assert DiceBelow(0.1, relative=True, absent=1.9)(found, empty, _logits([[0, 0, 0, 2]])).item()


def test_the_loss_that_leads_to_dice_below_paints_no_class_that_the_label_lacks():
    logits = CLEAN.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(DiceBelow(0.5).objective()(logits, LABEL).sum(), logits)
    (counted,) = torch.autograd.grad(DiceBelow(0.5, absent="count").objective()(logits, LABEL).sum(), logits)
    # On the background voxel, raising class 2 lowers class 1's share of it, which helps class 1; counted, it harms.
    assert gradient[0, 2, 0] < 0 < counted[0, 2, 0]


def test_the_best_class_decides_as_in_the_published_code():
    label = torch.tensor([[0, 1, 1, 2]])
    one_good = _logits([[2, 1, 1, 0]])  # class 1: 1, class 2: 0
    assert not MaxDiceBelow(1.0)(one_good, label, one_good).item()
    assert DiceBelow(0.6)(one_good, label, one_good).item()
    none_good = _logits([[2, 1, 0, 0]])  # class 1: 2/3
    assert MaxDiceBelow(0.67)(none_good, label, none_good).item()
    assert not MaxDiceBelow(0.66)(none_good, label, none_good).item()
    # A class that is in neither has Dice 1, but does not hold a case whose one structure is lost.
    lost = _logits([[0, 0, 0, 0]])
    assert MaxDiceBelow(0.1)(lost, LABEL, CLEAN).item()


def test_a_classifier_is_refused():
    logits = torch.tensor([[1.0, 0.0]])
    with pytest.raises(ValueError, match=r"got those of a classifier. Use Misclassified\(\)"):
        DiceBelow(0.5)(logits, torch.tensor([0]), logits)


def test_relative_dice_compares_with_the_clean_one():
    # Clean 0.8, now class 1 2*1/(3+1) = 0.5 = 0.625 of clean.
    now = _logits([[0, 1, 0, 0]])
    assert DiceBelow(0.63, relative=True)(now, LABEL, CLEAN).item()
    assert not DiceBelow(0.62, relative=True)(now, LABEL, CLEAN).item()


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
    assert repr(DiceBelow(0.1, classes=[1], absent="ignore")) == "Dice below 0.1 (class 1)"
    assert repr(DiceBelow(0.5)) == "Dice below 0.5, or over 100 mm3 of absent structures"


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
        ({"name": "dice-below", "threshold": 0.5, "absent": -1.0}, "absent must be a volume in mm3, 0 or more"),
        ({"name": "dice-below", "threshold": 0.5, "absent": "some"}, "'ignore' or 'count', got 'some'"),
        ({"name": "voxels-flipped", "fraction": 1.0}, r"fraction must be in \[0, 1\), got 1.0"),
    ],
)
def test_nonsense_is_refused(spec, text):
    with pytest.raises(ValueError, match=text):
        Criterion.build(spec)
