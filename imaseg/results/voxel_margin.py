"""Margins of single voxels: the maps of one case, and which cases have some."""

from __future__ import annotations

from typing import ClassVar, Literal

from imaseg.results.base import Entry, Row
from imaseg.results.maps import CaseMaps, VoxelMap


class VoxelMarginRow(Row):
    """The margin maps of one case, one per method."""

    kind: Literal["voxel-margin"] = "voxel-margin"
    maps: list[VoxelMap]
    forward_calls: int
    backward_calls: int


class VoxelMarginEntry(Entry):
    """Which cases have margin maps, and how they were made.

    Attributes:
        perturbation, unit: the set, and the unit of `eps` and of the maps.
        within: mm from a structure within which alone may change; None for the whole image.
        eps: largest change looked at.
        rungs, focus: effort, as in `imaseg.VoxelMargin`.
        per_case: the maps.
    """

    place: ClassVar[str] = "voxel_margins"
    kind: Literal["voxel-margin"] = "voxel-margin"
    perturbation: str
    unit: str
    within: float | None = None
    eps: float
    rungs: int
    focus: int
    per_case: list[CaseMaps]
