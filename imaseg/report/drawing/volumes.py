"""The volumes that an audit stored of a case with voxel maps, checked, and cut into the slices that the page shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imaseg.errors import InputError
from imaseg.results.maps import VoxelMap

_NEEDED = ("image", "label", "prediction")
_FLAT = 1.5


@dataclass(frozen=True)
class Volumes:
    """Image, label, prediction and maps of a case, each (X, Y, Z), and the voxel size in mm."""

    image: np.ndarray
    label: np.ndarray
    prediction: np.ndarray
    maps: dict[str, np.ndarray]
    spacing: np.ndarray

    @property
    def structures(self) -> np.ndarray:
        """Where the label or the prediction holds a structure."""
        found: np.ndarray = (self.label > 0) | (self.prediction > 0)
        return found

    @property
    def axis(self) -> int:
        """Slices lie across the thickest voxels, else across the third axis."""
        return int(np.argmax(self.spacing)) if self.spacing.max() > _FLAT * self.spacing.min() else 2


@dataclass(frozen=True)
class Slices(Volumes):
    """The same cut into slices (slices, rows, columns), at `places` along `across`; spacing is of rows, columns."""

    places: list[int]
    across: int

    @property
    def axis(self) -> int:
        """Across which the slices lie."""
        return self.across


def read_volumes(folder: Path, maps: Sequence[VoxelMap]) -> Volumes:
    """The volumes of a case.

    Args:
        folder: of the audit.
        maps: of the case; each names its file and its array.

    Raises:
        InputError: if a file cannot be read, an array is missing, or their shapes differ.
    """
    arrays: dict[str, np.ndarray] = {}
    for one in maps:
        arrays = _read(folder / one.view, (*_NEEDED, "spacing", one.array)) | arrays
    spacing = arrays.pop("spacing")
    shapes = {array.shape for array in arrays.values()}
    if len(shapes) != 1 or len(next(iter(shapes))) != 3 or 0 in next(iter(shapes)):
        msg = f"{folder / maps[0].view} must hold volumes of one shape, got {sorted(shapes)}. Audit this case again."
        raise InputError(msg)
    if spacing.shape != (3,) or not np.all(np.isfinite(spacing) & (spacing > 0)):
        got = spacing.tolist()
        msg = f"{folder / maps[0].view} must have three positive spacings in mm, got {got}. Audit this case again."
        raise InputError(msg)
    return Volumes(
        np.nan_to_num(arrays["image"]),
        np.nan_to_num(arrays["label"]).astype(int),
        np.nan_to_num(arrays["prediction"]).astype(int),
        {one.array: arrays[one.array] for one in maps},
        spacing,
    )


def _read(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            # Labels are exact in single precision; what is no number fails here.
            return {name: np.asarray(file[name]).astype(float if name == "spacing" else np.float32) for name in names}
    except Exception as error:
        msg = f"{path} must hold {', '.join(names)}, got {error}. Audit this case again."
        raise InputError(msg) from error


def telling_places(structures: np.ndarray, axis: int, most: int) -> list[int]:
    """Slices with a structure, evenly spaced where there are more than `most`."""
    places = np.flatnonzero(structures.any(axis=tuple(a for a in range(3) if a != axis)))
    places = places if len(places) else np.array([structures.shape[axis] // 2])
    chosen: list[int] = places[np.linspace(0, len(places) - 1, min(most, len(places))).round().astype(int)].tolist()
    return chosen


def cut(volumes: Volumes, axis: int, places: list[int]) -> Slices:
    """Slices with rows and columns as a viewer shows them."""

    def slices(values: np.ndarray) -> np.ndarray:
        return np.rot90(np.moveaxis(values.take(places, axis), axis, 0), axes=(1, 2))

    columns, rows = (size for a, size in enumerate(volumes.spacing) if a != axis)
    image, label, prediction = map(slices, (volumes.image, volumes.label, volumes.prediction))
    maps = {name: slices(values) for name, values in volumes.maps.items()}
    return Slices(image, label, prediction, maps, np.array([rows, columns]), places, axis)
