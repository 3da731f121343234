"""Rigid motion of an image and its label; values at the border are continued outside."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform

from imaseg.corruptions.base import Label
from imaseg.corruptions.scene import Image


def moved_image(image: Image, matrix: NDArray[np.float64], offset: NDArray[np.float64]) -> Image:
    """Move each channel (X, Y, Z): voxel v of the result is interpolated linearly at `matrix @ v + offset`."""
    return np.stack([affine_transform(channel, matrix, offset, order=1, mode="nearest") for channel in image])


def moved_label(label: Label, matrix: NDArray[np.float64], offset: NDArray[np.float64]) -> Label:
    """Move a label (X, Y, Z) in the same way, with nearest-neighbour interpolation."""
    return affine_transform(label.astype(np.int32), matrix, offset, order=0, mode="nearest").astype(label.dtype)


def rotation_matrix(axis: NDArray[np.float64], degrees: float) -> NDArray[np.float64]:
    """Rotation matrix about a unit axis (Rodrigues' formula).

    >>> rotation_matrix(np.array([0.0, 0.0, 1.0]), 90.0).round(6).tolist()
    [[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    x, y, z = axis
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    angle = np.radians(degrees)
    matrix: NDArray[np.float64] = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return matrix
