"""Distances between surfaces: HD95, ASSD, and surface Dice at one voxel and at 2 mm, of the classes of a case.

A surface is the voxels of a class that touch another class, or the edge of the image, by a face; every one of them
counts the same. HD95 is the larger of the two directed 95th percentiles, ASSD the mean over all voxels of both surfaces
(Maier-Hein et al., Nature Methods 2024). Surface Dice is the share of both surfaces that lies within the tolerance of
the other (Nikolov et al., J Med Internet Res 2021).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, find_objects
from scipy.spatial import KDTree

TOLERANCE_MM = 2.0
_ROUNDING = 1 + 1e-5
"""Voxel sizes come from float32 headers."""

Volume = NDArray[Any]


class SurfaceScores(NamedTuple):
    """Surface Dice, 0 to 1, and HD95 and ASSD in mm; None where a class is absent on one side."""

    surface_dice: float
    surface_dice_2mm: float
    hd95: float | None
    assd: float | None


def surface_scores(
    found: Volume, truth: Volume, *, spacing: Sequence[float], classes: Sequence[int]
) -> dict[int, SurfaceScores]:
    """Compare the surfaces of classes that both volumes hold.

    One voxel is one step along any axis, however long that is in mm: with thick slices a tolerance in mm would either
    forgive several pixels within a slice or not a single slice.

    Args:
        found: integer (*spatial), 0 is no class.
        truth: likewise.
        spacing: voxel size in mm.
        classes: to compare; each has at least one voxel in both.
    """
    return {k: _compare(*cropped(found == k, truth == k), np.asarray(spacing, dtype=float)) for k in classes}


def _compare(found: Volume, truth: Volume, spacing: NDArray[np.float64]) -> SurfaceScores:
    edges = [np.argwhere(mask ^ binary_erosion(mask)) for mask in (found, truth)]
    voxels = np.concatenate(_distances(*edges))
    there, back = _distances(*(edge * spacing for edge in edges))
    mm = np.concatenate([there, back])
    return SurfaceScores(
        surface_dice=float((voxels <= 1).mean()),
        surface_dice_2mm=float((mm <= TOLERANCE_MM * _ROUNDING).mean()),
        hd95=float(max(np.percentile(there, 95), np.percentile(back, 95))),
        assd=float(mm.mean()),
    )


def _distances(one: Volume, other: Volume) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """From each point (N, axes) to the nearest of the others, and back."""
    return KDTree(other).query(one)[0], KDTree(one).query(other)[0]


def cropped(found: Volume, truth: Volume) -> tuple[Volume, Volume]:
    """Both volumes in the box that holds everything but background."""
    inside = find_objects(((found > 0) | (truth > 0)).astype(np.uint8))
    box = inside[0] if inside else (slice(0),)
    return found[box], truth[box]
