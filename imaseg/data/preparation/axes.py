"""Interpolation between grids as sparse matrices, one per axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates, zoom
from scipy.sparse import csr_array

_NEGLIGIBLE = 1e-7
"""Smaller weights of a cubic spline are set to 0; weights fall to about a quarter with each voxel of distance."""

_SLIGHT = 1e-3
"""The same for `zoom_weights`, whose matrices only guide a search."""


def axis_weights(before: int, after: int, ratio: float, order: int | str, start: float | None = None) -> csr_array:
    """Matrix (after, before) that interpolates along one axis, constant beyond the border.

    Args:
        before: voxels along the axis.
        after: voxels that come out.
        ratio: new voxel size by old one.
        order: 0 nearest, 1 linear, 3 cubic spline; `area` is the mean of the old voxels that a new one touches; `even`
            the nearest, halves to the even one, as PyTorch rounds.
        start: old index of the first new voxel; None keeps the centre of the axis where it is.
    """
    if order == "area":
        return _area_weights(before, after)
    start = (before - 1) / 2 - (after - 1) / 2 * ratio if start is None else start
    positions = start + np.arange(after) * ratio
    return _weights(positions.clip(0, before - 1), before, order)


def zoom_weights(before: int, after: int, ratio: float, order: int) -> csr_array:
    """As `axis_weights`, with splines fitted to a signal continued by its border value, as nnU-Net resamples."""
    if order == 1:
        return axis_weights(before, after, ratio, order)
    dense = zoom(np.eye(before, dtype=np.float32), (after / before, 1), order=order, mode="nearest", grid_mode=True)
    return csr_array(np.where(np.abs(dense) > _SLIGHT, dense, np.float32(0)))


def spline_weights(nodes: int, after: int) -> csr_array:
    """Matrix (after, nodes) of a cubic spline through `nodes` values from the first to the last voxel."""
    return _weights(np.linspace(0, nodes - 1, after), nodes, 3)


def along_axes(matrices: Sequence[Any], values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Apply a matrix along each axis of (X, Y, Z)."""
    for axis, matrix in enumerate(matrices):
        first = np.moveaxis(values, axis, 0)
        flat = matrix @ np.ascontiguousarray(first).reshape(first.shape[0], -1)
        values = np.moveaxis(flat.reshape(-1, *first.shape[1:]), 0, axis)
    return values


def _area_weights(before: int, after: int) -> csr_array:
    first, last = (np.arange(after) * before // after, -(-np.arange(1, after + 1) * before // after))
    old = np.arange(before)
    touched = (old >= first[:, None]) & (old < last[:, None])
    return csr_array((touched / touched.sum(1, keepdims=True)).astype(np.float32))


def _weights(positions: NDArray[np.float64], before: int, order: int | str) -> csr_array:
    after = len(positions)
    if order == 3 and before > 1:
        dense = np.stack(
            [map_coordinates(unit, [positions], order=3, mode="mirror") for unit in np.eye(before)], axis=1
        )
        return csr_array(np.where(np.abs(dense) > _NEGLIGIBLE, dense, 0).astype(np.float32))
    if order in (0, "even"):
        # Halves go up, so that two voxels of one do not both take the lower.
        exact = positions.round(6)
        nearest = (np.rint(exact) if order == "even" else np.floor(exact + 0.5)).astype(int).clip(0, before - 1)
        return csr_array((np.ones(after, np.float32), (np.arange(after), nearest)), shape=(after, before))
    low = np.floor(positions).astype(int)
    share = positions - low
    rows, columns = np.tile(np.arange(after), 2), np.concatenate([low, np.minimum(low + 1, before - 1)])
    weights = np.concatenate([1 - share, share]).astype(np.float32)
    return csr_array((weights, (rows, columns)), shape=(after, before))
