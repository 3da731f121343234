"""The slices of a case that the page shows its voxel maps on, as a viewer shows them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imaseg.auditing.source import Loaded
from imaseg.data.files import whole_file

_MOST = 24
_FLAT = 1.5


def write_view(
    path: Path, case: Loaded, prediction: NDArray[Any], maps: Mapping[str, NDArray[Any]], *, most: int = _MOST
) -> None:
    """Write slices of image, label, prediction and maps, whole or not at all.

    They lie across the axis of the thickest voxels, else across the third one; of those with a labelled or predicted
    structure at most `most`, evenly spaced.
    """
    spacing = case.volume.spacing
    axis = int(np.argmax(spacing)) if max(spacing) > _FLAT * min(spacing) else 2
    across = tuple(a for a in range(3) if a != axis)
    places = np.flatnonzero(((case.label > 0) | (prediction > 0)).any(axis=across))
    places = places if len(places) else np.array([case.label.shape[axis] // 2])
    places = places[np.linspace(0, len(places) - 1, min(most, len(places))).round().astype(int)]

    def cut(volume: NDArray[Any], kind: type) -> NDArray[Any]:
        return np.rot90(np.moveaxis(volume.take(places, axis), axis, 0), axes=(1, 2)).astype(kind)

    columns, rows = (size for a, size in enumerate(spacing) if a != axis)
    arrays = {
        "image": cut(case.volume.image[0], np.float32),
        "label": cut(case.label, np.uint8),
        "prediction": cut(prediction, np.uint8),
        **{name: cut(values, np.float32) for name, values in maps.items()},
        "places": places,
        "axis": np.array(axis),
        "spacing": np.array([rows, columns]),
    }
    with whole_file(path) as part:
        np.savez_compressed(part, allow_pickle=False, **arrays)
