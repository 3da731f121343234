"""Distances between surfaces: HD95, and surface Dice at one voxel and at 2 mm, of the classes of a case, by MONAI.

A surface is the voxels of a class that touch another class, or the edge of the image, by a face; every one of them
counts the same. HD95 is the larger of the two directed 95th percentiles (Maier-Hein et al., Nature Methods 2024).
Surface Dice is the share of both surfaces that lies within the tolerance of the other (Nikolov et al., J Med Internet
Res 2021).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.metrics import compute_hausdorff_distance, compute_surface_dice
from numpy.typing import NDArray
from scipy.ndimage import find_objects

TOLERANCE_MM = 2.0
_ROUNDING = 1 + 1e-5
"""Voxel sizes come from float32 headers."""

Volume = NDArray[Any]


class SurfaceScores(NamedTuple):
    """Surface Dice, 0 to 1, and HD95 in mm; None where a class is absent on one side."""

    surface_dice: float
    surface_dice_2mm: float
    hd95: float | None


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
    return {k: _compare(*cropped(found == k, truth == k), [float(size) for size in spacing]) for k in classes}


def _compare(found: Volume, truth: Volume, spacing: list[float]) -> SurfaceScores:
    masks = [torch.from_numpy(mask)[None, None] for mask in (found, truth)]
    voxel = compute_surface_dice(*masks, [1.0], include_background=True)
    mm = compute_surface_dice(*masks, [TOLERANCE_MM * _ROUNDING], include_background=True, spacing=spacing)
    hd95 = compute_hausdorff_distance(*masks, include_background=True, percentile=95, spacing=spacing)
    return SurfaceScores(float(voxel), float(mm), float(hd95))


def cropped(found: Volume, truth: Volume) -> tuple[Volume, Volume]:
    """Both volumes in the box that holds everything but background."""
    inside = find_objects(((found > 0) | (truth > 0)).astype(np.uint8))
    box = inside[0] if inside else (slice(0),)
    return found[box], truth[box]
