"""Scores that are counted of two maps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from imaseg.auditing.metrics.scores import dice_of_maps
from imaseg.auditing.probes.scene import Scene, telling_slice


def test_ignored_voxels_are_neither_right_nor_wrong():
    label, prediction = np.array([1, 1, 0, -1, -1, 2]), np.array([1, 0, 0, 1, 0, 2])
    assert dice_of_maps(prediction, label, {1: [1], 2: [1, 2], 3: [3]}) == {"1": 2 / 3, "2": 4 / 5, "3": 1.0}


class _Labelled(Scene):
    """A scene of which only label and spacing are known."""

    def __init__(self, label, spacing):
        self.label, self.spacing, self.groups = label[None], spacing, {1: [1]}

    def shown(self, classes):
        return classes


@pytest.mark.parametrize(("spacing", "inside"), [((1.0, 1.0, 1.0), 10), ((1.0, 1.0, 4.0), 2), ((1.0, 1.0, 10.0), 1)])
def test_near_is_counted_in_mm(spacing, inside):
    label = torch.zeros(3, 3, 40, dtype=torch.long)
    label[1, 1, 0] = 1
    change = torch.zeros(2, 3, 3, 40)
    change[:, 1, 1] = 2.0  # along the axis of thick slices, in both channels
    scene = _Labelled(label, spacing)
    # The labelled voxel and those up to 10 mm further along the line.
    assert scene.share_near(change) == pytest.approx((inside + 1) / 40)


def test_near_has_no_value_without_a_structure_or_a_change():
    label = torch.zeros(3, 3, 4, dtype=torch.long)
    assert _Labelled(label, (1.0, 1.0, 1.0)).share_near(torch.ones(1, 3, 3, 4)) is None
    label[0, 0, 0] = 1
    assert _Labelled(label, (1.0, 1.0, 1.0)).share_near(torch.zeros(1, 3, 3, 4)) is None


def _map(shape, *places):
    inside = np.zeros(shape, bool)
    for place in places:
        inside[place] = True
    return inside


def test_a_volume_of_one_slice_is_shown_as_that_slice():
    shape = (8, 6, 1)
    assert telling_slice([_map(shape)] * 3) == (2, 0)
    assert telling_slice([_map(shape, (3, 2, 0))] * 3) == (2, 0)
    assert telling_slice([_map((1, 8, 6))] * 3) == (0, 0)
    assert telling_slice([_map((8, 6))] * 3) == (2, 0)


def test_where_the_label_is_empty_the_slice_is_that_of_what_was_found():
    shape = (4, 5, 6)
    nothing, appeared = _map(shape), _map(shape, (1, 2, 3), (2, 2, 3), (1, 3, 3))
    assert telling_slice([nothing, nothing, appeared]) == (2, 3)
    axis, place = telling_slice([nothing] * 3)
    assert (axis, place) == (0, 2)  # the largest slices, in the middle
