"""Maps over the voxels of a case: kept for the page, written as NIfTI, and summed up by structure and distance."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from imaseg.auditing.inputs.source import Loaded
from imaseg.auditing.probes.base import Lines
from imaseg.auditing.probes.margin import structure_names
from imaseg.auditing.probes.scene import Scene, sha256
from imaseg.data.formats.nifti import write_nifti
from imaseg.margins.voxel import VoxelMargin, VoxelMarginResult
from imaseg.margins.voxel_summary import VoxelSummary, summarise_depths, summarise_structures
from imaseg.results.maps import BandSummary, CaseMaps, VoxelMap

_QUANTILES = ("q05", "q25", "median", "q75", "q95")
_LARGEST = float(np.finfo(np.float16).max)
_GROUP = 14
"""Calls per group of voxels that are attacked by themselves."""
_TOGETHER = 8
"""Groups in one call."""


def calls_of(search: VoxelMargin) -> int:
    """Calls with a gradient that a search by attacks takes: on all voxels at every rung, and on groups."""
    return search.rungs * search.attack.steps + math.ceil(search.focus / _TOGETHER) * _TOGETHER * _GROUP


class MapWriter:
    """Writes the maps of one probe on one case.

    Args:
        scene: the case.
        probe: name of the probe.
        nifti: whether each map also becomes a NIfTI file on the grid of the image.
        stated: what `VoxelMap` says of all maps alike: perturbation, unit, eps, rms.
    """

    def __init__(self, scene: Scene, probe: str, *, nifti: bool, **stated: Any) -> None:
        self.scene, self.nifti, self.stated = scene, nifti, stated
        self.view = f"cases/{scene.case.id}.{probe}.npz"
        self.names = {k or 0: name for k, name in structure_names(scene.model.card.structures).items()}
        self.names[0] = "background"
        self._arrays: dict[str, NDArray[np.float16]] = {}

    def add(self, folder: str, result: VoxelMarginResult, *, method: str) -> VoxelMap:
        """Write a map and sum it up.

        Args:
            folder: of the NIfTI file, below the audit folder.
            result: margins (1, *spatial); certificates stand for margins, with "certified" for "censored".
            method: that made the map, as in `VoxelMap`.
        """
        margin, standing, right = result.margin[0], result.censored[0], result.right[0]
        unflipped = torch.full_like(margin, torch.inf)
        shown = margin.clamp(max=_LARGEST)
        self._arrays[method] = _array(shown if method == "certified" else unflipped.where(standing, shown))
        broken = margin[right & ~standing]
        inside = margin[right & (self.scene.shown(self.scene.label[0]) > 0)]
        return VoxelMap(
            **self.stated,
            method=method,
            view=self.view,
            array=method,
            file=self._write(folder, result) if self.nifti else None,
            right=int(right.sum()),
            censored=int((standing & right).sum()),
            median=float(broken.median()) if len(broken) else None,
            mean_inside=float(inside.mean()) if len(inside) else None,
            bands=[self._band(one, method) for one in self._summaries(result)] if self.nifti else [],
        )

    def close(self) -> None:
        """Write the arrays that the page draws."""
        scene = self.scene
        volumes = {
            "image": _array(scene.image[0, 0].clamp(-_LARGEST, _LARGEST)),
            "label": _array(scene.shown(scene.label[0]), np.uint8),
            "prediction": _array(scene.shown(scene.clean), np.uint8),
            "spacing": np.array([*scene.loaded.volume.spacing, 1.0][:3]),
        }
        scene.write_arrays(self.view, {**volumes, **self._arrays})

    def _write(self, folder: str, result: VoxelMarginResult) -> str:
        name = f"{folder}/{self.scene.case.id}.nii.gz"
        write_map(self.scene.folder / name, result.margin[0].cpu().numpy(), self.scene.loaded)
        return self.scene.keep(name, sha256(self.scene.folder / name))

    def _summaries(self, result: VoxelMarginResult) -> list[VoxelSummary]:
        label, spacing = self.scene.loaded.label, self.scene.loaded.volume.spacing
        distance = distance_to_boundary(label, spacing)
        if self.scene.model.card.regions:  # may lie within each other, so each has its own channel
            label = np.stack([label == 0, *(np.isin(label, inside) for inside in self.scene.groups.values())])
            distance = np.stack([distance_to_boundary(region.astype(int), spacing) for region in label])
        device = result.margin.device
        where, depth = (torch.from_numpy(array)[None].to(device) for array in (label, distance))
        return summarise_structures(result, where)[0] + summarise_depths(result, where, depth)[0]

    def _band(self, one: VoxelSummary, method: str) -> BandSummary:
        certified = method == "certified"
        return BandSummary(
            structure=self.names[one.label],
            from_mm=_finite(one.low),
            to_mm=_finite(one.high),
            labelled=one.labelled,
            right=one.voxels,
            censored=None if certified else _finite(one.censored),
            certified=one.censored * one.voxels / one.labelled if certified and one.voxels else None,
            **dict(zip(_QUANTILES, map(_finite, one.quantiles), strict=True)),
        )


def distance_to_boundary(label: NDArray[np.integer], spacing: tuple[float, ...]) -> NDArray[np.float64]:
    """From each voxel to the nearest one with another label, in mm between centres; infinite if there is none."""
    distance = np.full(label.shape, np.inf)
    for value in np.unique(label):
        inside = label == value
        if not inside.all():
            distance[inside] = distance_transform_edt(inside, sampling=spacing)[inside]
    return distance


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


def band_lines(cases: Iterable[CaseMaps]) -> dict[str, Lines]:
    """`voxel_margins.csv`: one line per case, map, structure and band; nothing where no map was written."""
    lines = [
        {"case": each.case, "perturbation": one.in_set, "unit": one.unit, "method": one.method, **band.model_dump()}
        for each in cases
        for one in each.maps
        for band in one.bands
    ]
    return {"voxel_margins.csv": lines} if lines else {}


def _array(values: torch.Tensor, kind: type = np.float16) -> NDArray[np.float16]:
    """A volume, flat images as one slice."""
    array = values.cpu().numpy()
    return (array if array.ndim == 3 else array[..., None]).astype(kind)


def _finite(value: float) -> float | None:
    """A number for JSON, which knows no others."""
    return value if math.isfinite(value) else None
