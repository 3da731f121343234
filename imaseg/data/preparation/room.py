"""Whether a volume may be resampled to another voxel size: told by the numbers alone, before memory is taken."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from imaseg.data.formats.claims import SMALL, free_memory
from imaseg.errors import InputError

_BYTES, _BYTES_OF_CHANNEL = 16, 4
"""What a voxel of the new grid takes while its label is found, and in the image."""
_MOST_TIMES = 100
"""Voxels of a large grid per voxel of the old one. From slices of 10 mm to cubes of 0.5 mm, half the side in plane, it
is 80; a voxel size that is wrong by 10 makes 1,000."""


def require_grid(case: str, shape: Sequence[int], ratio: NDArray[np.float64], channels: int) -> tuple[int, ...]:
    """Check what resampling would make of a volume.

    Args:
        case: id, for the message.
        shape: voxels along its axes.
        ratio: new voxel size by old one along each.
        channels: of the image.

    Returns:
        Voxels of the new grid.

    Raises:
        InputError: if they are many more than before, or more than there is memory for; small grids pass.
    """
    with np.errstate(all="ignore"):
        sides = np.maximum(1, np.rint(np.asarray(shape) / ratio))
        times = float(np.prod(sides / shape))
        claimed = float(np.prod(sides)) * (_BYTES + _BYTES_OF_CHANNEL * channels)
    if np.isfinite(ratio).all() and claimed <= SMALL:
        return tuple(int(side) for side in sides)
    free = free_memory()
    if not np.isfinite(ratio).all() or not claimed <= free or times > _MOST_TIMES:
        grids = [" x ".join(f"{side:.6g}" for side in grid) for grid in (sides, shape)]
        msg = (
            f"{case}: spacing must give a grid that fits into memory and has at most {_MOST_TIMES} times as many "
            f"voxels as before, got {grids[0]} from {grids[1]}, {claimed / 1e9:.3g} GB with {free / 1e9:.1f} GB free. "
            "Correct the voxel size in the header, or ask for a larger spacing."
        )
        raise InputError(msg)
    return tuple(int(side) for side in sides)
