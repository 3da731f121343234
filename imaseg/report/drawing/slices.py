"""The slice that an audit stored for a case, checked before it is drawn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imaseg.errors import InputError

_NEEDED = ("image", "attacked_image", "label", "clean_prediction", "attacked_prediction", "spacing")


@dataclass(frozen=True)
class Slice:
    """One 2D slice of a case; arrays (rows, columns), spacing in mm per row and column."""

    image: np.ndarray
    attacked_image: np.ndarray
    label: np.ndarray
    clean_prediction: np.ndarray
    attacked_prediction: np.ndarray
    spacing: tuple[float, float]

    @property
    def perturbation(self) -> np.ndarray:
        """What the attack added, in the model's input units."""
        change: np.ndarray = self.attacked_image - self.image
        return change

    @property
    def scale(self) -> float:
        """Largest absolute perturbation on this slice: the end of the colour scale on both sides."""
        return float(np.abs(self.perturbation).max(initial=0.0))

    @property
    def classes(self) -> list[int]:
        """Foreground classes seen in the label or in a prediction."""
        seen = np.unique([self.label, self.clean_prediction, self.attacked_prediction])
        return [int(value) for value in seen if value]


def read_slice(path: Path) -> Slice:
    """Read the slice that the audit stored for one case.

    Raises:
        InputError: if the file cannot be read, an array is missing, or their shapes differ.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: np.asarray(file[name]) for name in _NEEDED}
        spacing = arrays.pop("spacing").astype(float).ravel()
        arrays = {name: array.astype(np.float32) for name, array in arrays.items()}
    except Exception as error:
        msg = f"{path} must be a slice with {', '.join(_NEEDED)}, got {error}. Audit this case again."
        raise InputError(msg) from error
    shapes = {array.shape for array in arrays.values()}
    if len(shapes) != 1 or len(next(iter(shapes))) != 2 or 0 in next(iter(shapes)):
        msg = f"{path} must hold arrays of one 2D shape, got {sorted(shapes)}. Audit this case again."
        raise InputError(msg)
    if spacing.size != 2 or not np.all(np.isfinite(spacing) & (spacing > 0)):
        msg = f"{path} must have two positive spacings in mm, got {spacing.tolist()}. Audit this case again."
        raise InputError(msg)
    arrays = {name: np.nan_to_num(array) for name, array in arrays.items()}
    images = {name: arrays[name] for name in ("image", "attacked_image")}
    masks = {name: arrays[name].astype(np.int64) for name in ("label", "clean_prediction", "attacked_prediction")}
    return Slice(**images, **masks, spacing=(float(spacing[0]), float(spacing[1])))
