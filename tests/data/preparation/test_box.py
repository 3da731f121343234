"""A box that reaches beyond an array, voxel by voxel."""

from __future__ import annotations

import numpy as np
import pytest

from imaseg.data.preparation.box import take_box


@pytest.mark.parametrize(
    ("start", "shape"),
    [((0, 0), (4, 3)), ((1, -2), (2, 6)), ((-3, 1), (9, 1)), ((7, 0), (2, 2)), ((-5, -5), (3, 3)), ((2, 2), (0, 1))],
)
def test_each_voxel_is_that_of_the_array_or_the_fill(start, shape):
    array = np.arange(12).reshape(4, 3)
    box = take_box(array, start, shape, -1)
    assert box.shape == shape
    for index in np.ndindex(*shape):
        at = tuple(i + s for i, s in zip(index, start, strict=True))
        inside = all(0 <= a < side for a, side in zip(at, array.shape, strict=True))
        assert box[index] == (array[at] if inside else -1)
