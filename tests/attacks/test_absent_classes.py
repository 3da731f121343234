"""What an attack keeps is the worst by the figure that is reported of it, whatever it paints of absent classes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from imaseg import PGD, Linf, UniformNoise
from imaseg.scores import hard_dice


class Recorded(torch.nn.Module):
    """Class k where the image is nearest to k; keeps what it decided."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, image):
        logits = torch.cat([-((image - k) ** 2) for k in range(4)], 1)
        self.seen.append(logits.detach().argmax(1).numpy())
        return logits


def _mean_dice(decided, label):
    """By sets of places, over the classes in the label."""
    found = []
    for k in set(label.ravel()) - {0}:
        mine, theirs = set(np.flatnonzero(decided == k)), set(np.flatnonzero(label == k))
        found.append(2 * len(mine & theirs) / (len(mine) + len(theirs)))
    return np.mean(found)


LABEL = torch.zeros(1, 8, 8, dtype=torch.long)
LABEL[:, 2:6, 2:6] = 1


def test_the_point_kept_is_that_of_the_lowest_dice_over_the_classes_in_the_label():
    model, image = Recorded(), LABEL[None].float()
    result = UniformNoise(Linf(2.0), steps=12)(model, image, LABEL)
    dice = [_mean_dice(decided[0], LABEL[0].numpy()) for decided in model.seen]
    assert float(result.foreground_dice) == pytest.approx(min(dice))
    kept = model.seen[int(np.argmin(dice))][0]
    assert int(result.false_positives) == np.isin(kept, [2, 3]).sum() > 0
    assert int(result.false_positives_clean) == 0
    # A mean over all three classes would have chosen by whether a voxel of class 2 and one of class 3 was painted.
    assert float(hard_dice(model(result.image), LABEL)[0, 1:].mean()) < float(result.foreground_dice)


def test_an_attack_on_one_structure_goes_on_after_one_voxel_of_each_other_class():
    image = LABEL[None].float()
    result = PGD(Linf(0.7), steps=20)(Recorded(), image, LABEL)
    assert float(result.foreground_dice) == 0.0


def test_where_nothing_is_labelled_more_that_is_found_is_worse():
    empty = torch.zeros_like(LABEL)
    model, image = Recorded(), torch.zeros(1, 1, 8, 8)
    result = UniformNoise(Linf(1.2), steps=12)(model, image, empty)
    assert int(result.false_positives) == max((decided > 0).sum() for decided in model.seen)
    assert PGD(Linf(0.7), steps=20)(Recorded(), image, empty).false_positives.item() == 64  # every voxel, not one


def test_each_sample_of_a_batch_counts_its_own_classes():
    both = torch.cat([LABEL, torch.zeros_like(LABEL), LABEL.clamp(max=0) + 3])
    image = both[:, None].float()
    together = PGD(Linf(0.6), steps=3)(Recorded(), image, both)
    for i in range(3):
        alone = PGD(Linf(0.6), steps=3)(Recorded(), image[i : i + 1], both[i : i + 1])
        assert torch.equal(together.foreground_dice[i : i + 1], alone.foreground_dice)
        assert torch.equal(together.false_positives[i : i + 1], alone.false_positives)
