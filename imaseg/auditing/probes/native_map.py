"""A map of the model's space on the native grid, as a NIfTI file that overlays the image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imaseg.auditing.inputs.source import Loaded
from imaseg.data.formats.nifti import write_nifti


def on_native_grid(values: NDArray[Any], case: Loaded) -> NDArray[np.float32]:
    """Each native voxel takes the value of the nearest prepared one; NaN outside of what was prepared.

    Nearest and not linear, since values that stand for something (0 wrong, the ceiling not flipped) must not mix with
    margins.

    Args:
        values: (X, Y, Z) on the prepared grid.
        case: with both grids; their axes are parallel, in any order and direction.
    """
    to_prepared = np.linalg.inv(case.volume.affine) @ case.native.affine
    axes = np.abs(to_prepared[:3, :3]).argmax(axis=1)
    places, inside = [], []
    for row, axis, size in zip(to_prepared, axes, values.shape, strict=False):
        place = np.floor(row[axis] * np.arange(case.native.shape[axis]) + row[3] + 0.5).astype(int)
        inside.append((place >= 0) & (place < size))
        places.append(place.clip(0, size - 1))
    whole = np.where(
        inside[0][:, None, None] & inside[1][:, None] & inside[2], values[np.ix_(*places)], np.float32(np.nan)
    )
    return np.ascontiguousarray(whole.transpose(np.argsort(axes)), dtype=np.float32)


def write_map(path: Path, values: NDArray[Any], case: Loaded) -> None:
    """Write a map with the affine of the native image."""
    write_nifti(path, on_native_grid(values, case), case.native.affine)
