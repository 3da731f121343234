"""The volumes that an audit stored of a case with voxel maps, and cut into the slices that the page shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imaseg.report.drawing.stored import read_arrays
from imaseg.results.maps import VoxelMap

_FLAT = 1.5


@dataclass(frozen=True)
class Volumes:
    """Image, label, prediction and maps of a case, each (X, Y, Z), and the voxel size in mm.

    Cut into slices they are (slices, rows, columns), at `places` along `across`, and the spacing is of rows, columns.
    """

    image: np.ndarray
    label: np.ndarray
    prediction: np.ndarray
    maps: dict[str, np.ndarray]
    spacing: np.ndarray
    places: Sequence[int] = ()
    across: int | None = None

    @property
    def structures(self) -> np.ndarray:
        """Where the label or the prediction holds a structure."""
        found: np.ndarray = (self.label > 0) | (self.prediction > 0)
        return found

    @property
    def axis(self) -> int:
        """Slices lie across the thickest voxels, else across the third axis."""
        if self.across is not None:
            return self.across
        return int(np.argmax(self.spacing)) if self.spacing.max() > _FLAT * self.spacing.min() else 2


def read_volumes(folder: Path, maps: Sequence[VoxelMap]) -> Volumes:
    """The volumes of a case.

    Args:
        folder: of the audit.
        maps: of the case; each names its file and its array.

    Raises:
        InputError: as `read_arrays`.
    """
    files: dict[Path, list[str]] = {}
    for one in maps:
        files.setdefault(folder / one.view, ["image", "label", "prediction"]).append(one.array)
    arrays = read_arrays(files, 3)
    image, label, prediction = (np.nan_to_num(arrays[name]) for name in ("image", "label", "prediction"))
    found = {one.array: arrays[one.array] for one in maps}
    return Volumes(image, label.astype(int), prediction.astype(int), found, arrays["spacing"])


def telling_places(structures: np.ndarray, axis: int, most: int) -> list[int]:
    """Slices with a structure, evenly spaced where there are more than `most`."""
    places = np.flatnonzero(structures.any(axis=tuple(a for a in range(3) if a != axis)))
    places = places if len(places) else np.array([structures.shape[axis] // 2])
    chosen: list[int] = places[np.linspace(0, len(places) - 1, min(most, len(places))).round().astype(int)].tolist()
    return chosen


def cut(volumes: Volumes, axis: int, places: list[int]) -> Volumes:
    """Slices with rows and columns as a viewer shows them."""

    def slices(values: np.ndarray) -> np.ndarray:
        return np.rot90(np.moveaxis(values.take(places, axis), axis, 0), axes=(1, 2))

    image, label, prediction = map(slices, (volumes.image, volumes.label, volumes.prediction))
    maps = {name: slices(values) for name, values in volumes.maps.items()}
    return Volumes(image, label, prediction, maps, np.delete(volumes.spacing, axis)[::-1], places, axis)
