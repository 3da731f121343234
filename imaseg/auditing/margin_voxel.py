"""Voxel maps of one case as files, and what they say per structure and per distance to the boundary."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from imaseg.auditing.margin_native import write_map
from imaseg.auditing.margin_record import MarginRecord
from imaseg.auditing.source import Loaded
from imaseg.margins.voxel import VoxelMarginResult
from imaseg.margins.voxel_summary import VoxelSummary, summarise_depths, summarise_structures

_QUANTILES = ("q05", "q25", "median", "q75", "q95")
VOXEL_COLUMNS = (
    "case", "perturbation", "unit", "method", "structure", "from_mm", "to_mm", "labelled", "right", "censored",
    "certified", *_QUANTILES,
)  # fmt: skip
LEGEND = {
    "grid": "of the image file, each voxel with the value of the nearest prepared one",
    "voxel_margins, wrong on the unchanged image": 0,
    "voxel_margins, not flipped (censored)": "eps",
    "certified, not certified or wrong": 0,
    "outside of what the model saw": "NaN",
}
"""What the values of a written map mean, next to margins and radii."""


def distance_to_boundary(label: NDArray[np.integer], spacing: tuple[float, ...]) -> NDArray[np.float64]:
    """From each voxel to the nearest one with another label, in mm between centres; infinite if there is none."""
    distance = np.full(label.shape, np.inf)
    for value in np.unique(label):
        inside = label == value
        if not inside.all():
            distance[inside] = distance_transform_edt(inside, sampling=spacing)[inside]
    return distance


class MapWriter:
    """Writes the maps of one case and notes them in its record.

    Args:
        out: folder of `voxel_margins/` and `certified/`.
        case: on both grids.
        record: takes rows, files and notes.
        structures: label values by name.
    """

    def __init__(self, out: Path, case: Loaded, record: MarginRecord, structures: Mapping[str, int]) -> None:
        self.out, self.case, self.record = out, case, record
        self.names = {0: "background"} | {k: name for name, k in structures.items()}
        self.views: dict[str, NDArray[np.float32]] = {}

    def add(self, folder: str, result: VoxelMarginResult, about: Mapping[str, Any]) -> None:
        """Write a map, its rows, and a note of it.

        Args:
            folder: below `out`.
            result: margins (1, X, Y, Z); certificates stand for margins, with "certified" for "censored".
            about: perturbation, unit, method and eps.
        """
        name = f"{folder}/{self.case.volume.id}.nii.gz"
        values = array(result.margin)
        self.record.files[name] = write_map(self.out, name, values, self.case)
        self.record.count(result)
        self.record.maps.append({**about, "file": name, "view": f"map_{len(self.views)}"})
        self.views[f"map_{len(self.views)}"] = values
        keys = {key: about[key] for key in ("perturbation", "unit", "method")}
        self.record.voxel += [keys | self._row(one, about["method"]) for one in self._summaries(result)]

    def _summaries(self, result: VoxelMarginResult) -> list[VoxelSummary]:
        label = torch.from_numpy(self.case.label)[None].to(result.margin.device)
        distance = torch.from_numpy(distance_to_boundary(self.case.label, self.case.volume.spacing))[None].to(
            label.device
        )
        return summarise_structures(result, label)[0] + summarise_depths(result, label, distance)[0]

    def _row(self, one: VoxelSummary, method: str) -> dict[str, Any]:
        certified = method == "certified"
        return {
            "structure": self.names[one.label],
            "from_mm": _finite(one.low),
            "to_mm": _finite(one.high),
            "labelled": one.labelled,
            "right": one.voxels,
            "censored": None if certified else _finite(one.censored),
            "certified": one.censored * one.voxels / one.labelled if certified and one.voxels else None,
            **dict(zip(_QUANTILES, map(_finite, one.quantiles), strict=True)),
        }


def array(values: Tensor) -> Any:
    """The only sample of a batch as an array."""
    return values[0].cpu().numpy()


def _finite(value: float) -> float | None:
    """A number for JSON, which knows no others."""
    return value if math.isfinite(value) else None
