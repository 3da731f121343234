"""Simulates larger voxels along an axis: means over slabs, then linear interpolation back to the original grid."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from imaseg.corruptions.scene import Image


def averaged(image: Image, factor: float, axes: tuple[int, ...]) -> Image:
    """Return an image (C, X, Y, Z) as voxels `factor` times as long along some spatial axes would show it."""
    for axis in axes:
        matrix = slabs(image.shape[axis + 1], factor).astype(np.float32)
        image = np.moveaxis(np.tensordot(matrix, image, axes=(1, axis + 1)), 0, axis + 1)
    return image


def slabs(voxels: int, factor: float) -> NDArray[np.float64]:
    """Matrix (voxels, voxels) that averages along one axis; the last slab is as thick as what is left.

    >>> slabs(6, 3.0)[1].round(3).tolist()
    [0.333, 0.333, 0.333, 0.0, 0.0, 0.0]
    """
    count = int(np.ceil(voxels / factor - 1e-9))
    bounds = np.minimum(np.arange(count + 1) * factor, voxels)
    first, last = bounds[:-1, None], bounds[1:, None]
    voxel = np.arange(voxels)
    means = (np.minimum(last, voxel + 1) - np.maximum(first, voxel)).clip(min=0) / (last - first)
    centres = ((first + last) / 2 - 0.5).ravel()
    back = np.stack([np.interp(voxel, centres, unit) for unit in np.eye(count)], axis=1)
    matrix: NDArray[np.float64] = back @ means
    return matrix
