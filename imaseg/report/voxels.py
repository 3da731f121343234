"""Voxel margins of an audit as slices under a slider, models side by side on the same slices and colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from imaseg.errors import InputError
from imaseg.report.breaking import breaks
from imaseg.report.compare import Series
from imaseg.report.margin_schema import VoxelMap
from imaseg.report.margin_slides import Viewer, colour_scale, make_viewer
from imaseg.report.read import Audit
from imaseg.report.schema_parts import VoxelMargins

_VOLUMES = ("image", "margin", "censored", "label", "prediction")
_PICTURES = 32
"""Slices on the whole page: a file must stay small enough to send."""
_FLAT = 1.5


class _Holder(NamedTuple):
    """An audit that stored voxel margins, and on what set they lie."""

    audit: Audit
    map: VoxelMap


def voxel_viewers(audits: Sequence[Audit], series: Series | None) -> list[Viewer]:
    """Of one audit the two stored cases that fail first; of several the first one that all of them stored."""
    holders = [
        _Holder(audit, _map(known))
        for audit in audits
        if audit.voxels and (known := audit.summary.voxel_margins) is not None
    ]
    if not holders:
        return []
    if len(audits) == 1:
        cases = _ranked(audits[0], set(audits[0].voxels), series)[:2]
        return [one for case in cases for one in _viewers(case, holders, _PICTURES // len(cases), named=False)]
    shared = set.intersection(*(set(one.audit.voxels) for one in holders))
    most = max(4, _PICTURES // len(holders))
    alike = len({(one.map.perturbation, one.map.unit) for one in holders}) == 1
    if shared and alike:
        return _viewers(_ranked(holders[0].audit, shared, series)[0], holders, most, named=True)
    return [
        one
        for holder in holders
        for one in _viewers(_ranked(holder.audit, set(holder.audit.voxels), series)[0], [holder], most, named=True)
    ]


def _map(known: VoxelMargins) -> VoxelMap:
    return VoxelMap(
        perturbation=known.perturbation, unit=known.unit, method="attack", eps=known.eps, file="", view="margin"
    )


def _ranked(audit: Audit, stored: set[str], series: Series | None) -> list[str]:
    """Stored cases, the first to fail first."""
    order = [one.case for one in breaks(audit, series)] if series is not None else []
    return [case for case in order if case in stored] + sorted(stored.difference(order))


def _viewers(case: str, holders: Sequence[_Holder], most: int, *, named: bool) -> list[Viewer]:
    """One viewer per model, on slices that show a structure in the label or in any model's prediction."""
    volumes = [read_volume(one.audit.voxels[case]) for one in holders]
    axis = _axis(volumes[0]["spacing"])
    structures = [(one["label"] > 0) | (one["prediction"] > 0) for one in volumes]
    same = len({one.shape for one in structures}) == 1
    views = []
    for volume, own, one in zip(volumes, structures, holders, strict=True):
        places = _places(np.any(structures, axis=0) if same else own, axis, most)
        views.append(_view(volume, one.map, axis, places))
    scale = max(colour_scale(view, [one.map]) for view, one in zip(views, holders, strict=True))
    group = case if same and len(holders) > 1 else ""
    return [
        make_viewer(case, view, [one.map], scale, model=one.audit.name if named else "", group=group)
        for view, one in zip(views, holders, strict=True)
    ]


def read_volume(path: Path) -> dict[str, np.ndarray]:
    """The voxel margins that an audit stored for one case; flat images become one slice.

    Raises:
        InputError: if the file cannot be read, an array is missing, or their shapes differ.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: np.asarray(file[name]) for name in (*_VOLUMES, "spacing")}
    except Exception as error:
        msg = f"{path} must hold {', '.join((*_VOLUMES, 'spacing'))}, got {error}. Audit this case again."
        raise InputError(msg) from error
    shapes = {arrays[name].shape for name in _VOLUMES}
    if len(shapes) != 1 or len(next(iter(shapes))) not in (2, 3):
        msg = f"{path} must hold volumes of one shape, got {sorted(shapes)}. Audit this case again."
        raise InputError(msg)
    for name in _VOLUMES:
        arrays[name] = arrays[name].reshape(arrays[name].shape + (1,) * (3 - arrays[name].ndim))
    spacing = arrays["spacing"].astype(float).ravel()
    arrays["spacing"] = np.concatenate([spacing, np.ones(max(0, 3 - spacing.size))])[:3]
    return arrays


def _axis(spacing: np.ndarray) -> int:
    """Slices lie across the thickest voxels, else across the third axis."""
    return int(np.argmax(spacing)) if spacing.max() > _FLAT * spacing.min() else 2


def _places(structure: np.ndarray, axis: int, most: int) -> np.ndarray:
    """Slices with a structure, evenly spaced where there are more than `most`."""
    places = np.flatnonzero(structure.any(axis=tuple(a for a in range(3) if a != axis)))
    places = places if len(places) else np.array([structure.shape[axis] // 2])
    return places[np.linspace(0, len(places) - 1, min(most, len(places))).round().astype(int)]


def _view(volume: Mapping[str, np.ndarray], one: VoxelMap, axis: int, places: np.ndarray) -> dict[str, np.ndarray]:
    """Slices as a viewer shows them; a margin that nothing reached stands at the search limit, all others below."""

    def cut(values: np.ndarray, kind: Any) -> np.ndarray:
        return np.rot90(np.moveaxis(values.take(places, axis), axis, 0), axes=(1, 2)).astype(kind)

    below = np.minimum(np.nan_to_num(volume["margin"].astype(np.float32)), np.float32(one.eps * (1 - 1e-6)))
    columns, rows = (size for a, size in enumerate(volume["spacing"]) if a != axis)
    return {
        "image": cut(np.nan_to_num(volume["image"].astype(np.float32)), np.float32),
        "margin": cut(np.where(volume["censored"].astype(bool), one.eps, below), np.float64),
        "label": cut(volume["label"], np.int64),
        "prediction": cut(volume["prediction"], np.int64),
        "places": places,
        "axis": np.array(axis),
        "spacing": np.array([rows, columns]),
    }
