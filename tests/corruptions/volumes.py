"""Small cases to corrupt: a phantom in 3D and 2D, a CT, and images that have nothing to offer."""

from __future__ import annotations

import numpy as np

from imaseg.data.phantom import draw
from imaseg.data.volume import Volume

CT = ("CT",)


def phantom(*, channels=1, name="case_1", scale=300.0):
    """MR-like, air exactly 0, slices thicker than pixels."""
    spacing = np.array([1.0, 1.0, 1.6])
    image, label = draw(np.random.default_rng(0), (24, 24, 16), spacing)
    stacked = np.stack([image * scale * (i + 1) for i in range(channels)]).astype(np.float32)
    return Volume(name, stacked, label.astype(np.int64), np.diag([*spacing, 1.0]))


def slice_of(volume, *, flat):
    """Its middle slice, as (C, X, Y, 1) or (C, X, Y)."""
    image, label = volume.image[..., 8:9], volume.label[..., 8:9]
    return Volume(volume.id, image[..., 0] if flat else image, label[..., 0] if flat else label, volume.affine)


def tissue(*, name="tissue"):
    """Filled with tissue to the borders, without air."""
    rng = np.random.default_rng(1)
    smooth = np.cumsum(rng.standard_normal((1, 14, 13, 12)), axis=1)
    image = (300 + 20 * smooth + rng.standard_normal(smooth.shape)).astype(np.float32)
    return Volume(name, image, (image[0] > 300).astype(np.int64), np.eye(4))


def ct(*, name="ct_1"):
    """The phantom in HU."""
    volume = phantom(name=name, scale=1.0)
    hounsfield = np.where(volume.image > 0, 1040 * volume.image.clip(0, 1.6) - 1000, -1000)
    return Volume(name, hounsfield.astype(np.float32), volume.label, volume.affine)
