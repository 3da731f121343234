"""Scores that are counted of two maps."""

from __future__ import annotations

import numpy as np

from imaseg.auditing.metrics.scores import dice_of_maps


def test_ignored_voxels_are_neither_right_nor_wrong():
    label, prediction = np.array([1, 1, 0, -1, -1, 2]), np.array([1, 0, 0, 1, 0, 2])
    assert dice_of_maps(prediction, label, {1: [1], 2: [1, 2], 3: [3]}) == {"1": 2 / 3, "2": 4 / 5, "3": 1.0}
