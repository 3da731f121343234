"""Rigid motion of an image and its label; what lies at the border goes on outside."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform

from imaseg.corruptions.base import Label
from imaseg.corruptions.scene import Image


def moved_image(image: Image, matrix: NDArray[np.float64], offset: NDArray[np.float64]) -> Image:
    """Each channel (X, Y, Z), interpolated linearly where voxel v of the result comes from `matrix @ v + offset`."""
    return np.stack([affine_transform(channel, matrix, offset, order=1, mode="nearest") for channel in image])


def moved_label(label: Label, matrix: NDArray[np.float64], offset: NDArray[np.float64]) -> Label:
    """The same for a label (X, Y, Z), nearest voxel."""
    return affine_transform(label.astype(np.int32), matrix, offset, order=0, mode="nearest").astype(label.dtype)


def turning(axis: NDArray[np.float64], degrees: float) -> NDArray[np.float64]:
    """Rotation matrix about a unit axis (Rodrigues).

    >>> turning(np.array([0.0, 0.0, 1.0]), 90.0).round(6).tolist()
    [[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    x, y, z = axis
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    angle = np.radians(degrees)
    matrix: NDArray[np.float64] = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return matrix
