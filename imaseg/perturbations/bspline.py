"""Smooth fields from a coarse grid of control points: uniform cubic B-splines, one small matrix per axis.

Along an axis control point j sits at voxel (j - 1) * spacing: the grid reaches one point beyond the first voxel and at
least one beyond the last. The weights of a voxel are at least 0 and sum to 1, so that no field value exceeds the
largest control value. Rueckert et al., "Nonrigid registration using free-form deformations: application to breast MR
images", IEEE TMI 1999.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

_ROUNDING = 1e-9


def grid_shape(shape: Sequence[int], spacing: Sequence[float]) -> tuple[int, ...]:
    """Control points per axis that cover an image.

    Args:
        shape: voxels per axis.
        spacing: distance of control points per axis, in voxels.

    >>> grid_shape((33, 8), (8.0, 8.0))
    (7, 4)
    """
    pieces = (math.ceil((size - 1) / step - _ROUNDING) for size, step in zip(shape, spacing, strict=True))
    return tuple(max(count, 1) + 3 for count in pieces)


def evaluate(control: Tensor, shape: Sequence[int], spacing: Sequence[float]) -> Tensor:
    """The field at every voxel, differentiable in the control values.

    Args:
        control: (B, D, *grid), D values per control point.
        shape: voxels per axis.
        spacing: distance of control points per axis, in voxels.

    Returns:
        (B, D, *shape), in the type of control whatever the autocast.

    >>> evaluate(torch.arange(-1.0, 4.0).view(1, 1, 5), (5,), (2.0,))
    tensor([[[0.0000, 0.5000, 1.0000, 1.5000, 2.0000]]])
    """
    axes = zip(shape, control.shape[2:], spacing, strict=True)
    return _along_axes(control, (_weights(size, points, step) for size, points, step in axes))


def confined(mask: Tensor, spacing: Sequence[float]) -> Tensor:
    """Which control points have a weight within a mask and none outside it.

    Args:
        mask: (B, D, *shape) bool.
        spacing: distance of control points per axis, in voxels.

    Returns:
        (B, D, *grid) bool.
    """
    shape = mask.shape[2:]
    axes = zip(shape, grid_shape(shape, spacing), spacing, strict=True)
    felt = [(_weights(*axis) > 0).T for axis in axes]
    return (_along_axes(mask.float(), felt) > 0) & (_along_axes((~mask).float(), felt) == 0)


def _weights(size: int, points: int, spacing: float) -> Tensor:
    """Weight (size, points) of each control point at each voxel."""
    voxel = torch.arange(size, dtype=torch.float64).unsqueeze(1) / spacing
    distance = (voxel - (torch.arange(points) - 1)).abs()
    near = 2 / 3 - distance**2 + distance**3 / 2
    return torch.where(distance < 1, near, (2 - distance).clamp(min=0) ** 3 / 6)


def _along_axes(values: Tensor, matrices: Iterable[Tensor]) -> Tensor:
    with torch.autocast(values.device.type, enabled=False):
        for matrix in matrices:
            # Each product takes the first spatial axis away and appends the new one: after the last they are in order.
            values = torch.tensordot(values, matrix.to(values), dims=([2], [1]))
    return values
