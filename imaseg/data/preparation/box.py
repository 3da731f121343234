"""A box cut out of an array, which may reach beyond it: crops and pads are the same step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def take_box(array: NDArray[Any], start: Sequence[int], shape: Sequence[int], fill: Any) -> NDArray[Any]:
    """Cut a box of `shape` voxels from `start` on, which may be negative; voxels outside of the array hold `fill`.

    >>> take_box(np.array([1, 2, 3]), [-1], [3], 0)
    array([0, 1, 2])
    """
    box = np.full(tuple(shape), fill, array.dtype)
    sides = list(zip(array.shape, start, shape, strict=True))
    there = tuple(slice(max(0, s), max(0, min(side, s + n))) for side, s, n in sides)
    here = tuple(slice(max(0, -s), max(0, min(n, side - s))) for side, s, n in sides)
    box[here] = array[there]
    return box
