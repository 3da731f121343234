"""Arrays of a case that an audit stored for the page, checked before they are drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from imaseg.errors import InputError


def read_arrays(files: Mapping[Path, Sequence[str]], dimensions: int) -> dict[str, np.ndarray]:
    """Read arrays of one shape in single precision, in which labels are exact, and `spacing` in mm.

    Args:
        files: names of the arrays in each file; of a name that several hold the first one counts.
        dimensions: of each array.

    Raises:
        InputError: if a file cannot be read, an array is missing or holds no numbers, or shapes or spacings are wrong.
    """
    arrays: dict[str, np.ndarray] = {}
    for path, names in files.items():
        arrays = _read(path, [*names, "spacing"]) | arrays
    spacing = arrays.pop("spacing").astype(float).ravel()
    first, shapes = next(iter(files)), sorted({array.shape for array in arrays.values()})
    if len(shapes) != 1 or len(shapes[0]) != dimensions or 0 in shapes[0]:
        msg = f"{first} must hold arrays of one {dimensions}D shape, got {shapes}. Audit this case again."
        raise InputError(msg)
    if spacing.size != dimensions or not np.all(np.isfinite(spacing) & (spacing > 0)):
        got = spacing.tolist()
        msg = f"{first} must have {dimensions} positive spacings in mm, got {got}. Audit this case again."
        raise InputError(msg)
    return {**arrays, "spacing": spacing}


def _read(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: np.asarray(file[name]).astype(np.float32) for name in names}
    except Exception as error:
        msg = f"{path} must hold {', '.join(names)}, got {error}. Audit this case again."
        raise InputError(msg) from error
