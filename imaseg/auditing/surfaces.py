"""Distances between surfaces: HD95, and surface Dice at one voxel and at 2 mm, of all classes of a case at once.

A surface is the voxels of a class that touch another class, or the edge of the image, by a face; every one of them
counts the same. HD95 is the larger of the two directed 95th percentiles (Maier-Hein et al., Nature Methods 2024).
Surface Dice is the share of both surfaces that lies within the tolerance of the other (Nikolov et al., J Med Internet
Res 2021).

The same numbers as MONAI's, from one pass over the volume instead of several per class: the audit needs them for every
case, probe and budget.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

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
    sides = [_Surface.of(volume) for volume in (found, truth)]
    near = [one.touching(other) for one, other in (sides, sides[::-1])]
    scores = {}
    for k in classes:
        own = [side.classes == k for side in sides]
        places = [side.places[mine] * np.asarray(spacing) for side, mine in zip(sides, own, strict=True)]
        apart = [KDTree(other).query(one)[0] for one, other in (places, places[::-1])]
        total = sum(len(distances) for distances in apart)
        touching = sum(int(close[mine].sum()) for close, mine in zip(near, own, strict=True))
        within = sum(int((distances <= TOLERANCE_MM * _ROUNDING).sum()) for distances in apart)
        hd95 = max(float(np.percentile(distances, 95)) for distances in apart)
        scores[k] = SurfaceScores(touching / total, within / total, hd95)
    return scores


@dataclass(frozen=True)
class _Surface:
    """Surface voxels of all classes.

    Attributes:
        marked: class of each surface voxel, 0 elsewhere, with a rim of one voxel.
        places: (N, dimensions) of the surface voxels, in the volume with the rim.
        classes: (N,) of them.
    """

    marked: Volume
    places: NDArray[np.intp]
    classes: NDArray[Any]

    @classmethod
    def of(cls, volume: Volume) -> _Surface:
        padded = np.pad(volume, 1)
        inside = np.ones(volume.shape, dtype=bool)
        for neighbours in _beside(padded):
            inside &= neighbours == volume
        marked = np.pad(np.where(inside, 0, volume), 1)
        places = np.argwhere(marked)
        return cls(marked, places, marked[tuple(places.T)])

    def touching(self, other: _Surface) -> NDArray[np.bool_]:
        """Whether the other surface of the same class holds each voxel (N,) or one that shares a face with it."""
        close = other.marked[tuple(self.places.T)] == self.classes
        for axis in range(self.places.shape[1]):
            for step in (-1, 1):
                moved = self.places.copy()
                moved[:, axis] += step
                close |= other.marked[tuple(moved.T)] == self.classes
        return close


def _beside(padded: Volume) -> Iterator[Volume]:
    """The volume without its rim, moved by one voxel along every axis in both directions."""
    middle = [slice(1, -1)] * padded.ndim
    for axis in range(padded.ndim):
        for moved in (slice(None, -2), slice(2, None)):
            yield padded[(*middle[:axis], moved, *middle[axis + 1 :])]
