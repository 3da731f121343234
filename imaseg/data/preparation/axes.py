"""Separable maps between grids: one matrix per axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates, zoom
from scipy.sparse import csr_array

_NEGLIGIBLE = 1e-7
"""Far weights of a cubic spline are left out: they fall to a quarter with each voxel."""

_SLIGHT = 1e-3
"""The same where weights only say which way to look."""


def axis_weights(before: int, after: int, ratio: float, order: int) -> csr_array:
    """Interpolation from `before` to `after` voxels around the same centre; the border is continued.

    Args:
        before: voxels along the axis.
        after: voxels that come out.
        ratio: new voxel size by old one.
        order: 0 nearest, 1 linear, 3 cubic spline.
    """
    place = (before - 1) / 2 + (np.arange(after) - (after - 1) / 2) * ratio
    return _weights(place.clip(0, before - 1), before, order)


def zoom_weights(before: int, after: int, ratio: float, order: int) -> csr_array:
    """As `axis_weights`, with splines that take the border's value to go on outside, as in nnU-Net's resampling."""
    if order == 1:
        return axis_weights(before, after, ratio, order)
    dense = zoom(np.eye(before, dtype=np.float32), (after / before, 1), order=order, mode="nearest", grid_mode=True)
    return csr_array(np.where(np.abs(dense) > _SLIGHT, dense, np.float32(0)))


def spline_weights(nodes: int, after: int) -> csr_array:
    """Cubic spline through `nodes` values, the first and last of which lie on the first and last voxel."""
    return _weights(np.linspace(0, nodes - 1, after), nodes, 3)


def along_axes(matrices: Sequence[Any], values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Apply a matrix along each axis of (X, Y, Z)."""
    for axis, matrix in enumerate(matrices):
        first = np.moveaxis(values, axis, 0)
        flat = matrix @ np.ascontiguousarray(first).reshape(first.shape[0], -1)
        values = np.moveaxis(flat.reshape(-1, *first.shape[1:]), 0, axis)
    return values


def _weights(place: NDArray[np.float64], before: int, order: int) -> csr_array:
    after = len(place)
    if order == 3 and before > 1:
        dense = np.stack([map_coordinates(unit, [place], order=3, mode="mirror") for unit in np.eye(before)], axis=1)
        return csr_array(np.where(np.abs(dense) > _NEGLIGIBLE, dense, 0).astype(np.float32))
    if order == 0:
        # Halves go up, so that two voxels of one do not both take the lower.
        nearest = np.floor(place + 0.5).astype(int).clip(0, before - 1)
        return csr_array((np.ones(after, np.float32), (np.arange(after), nearest)), shape=(after, before))
    low = np.floor(place).astype(int)
    share = place - low
    rows, columns = np.tile(np.arange(after), 2), np.concatenate([low, np.minimum(low + 1, before - 1)])
    weights = np.concatenate([1 - share, share]).astype(np.float32)
    return csr_array((weights, (rows, columns)), shape=(after, before))
