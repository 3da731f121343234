"""The slice that an audit stored for a case under attack."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imaseg.report.drawing.stored import read_arrays

_IMAGES = ("image", "attacked_image")
_CLASSES = ("label", "clean_prediction", "attacked_prediction")


@dataclass(frozen=True)
class Slice:
    """One 2D slice of a case; arrays (rows, columns), spacing in mm per row and column."""

    image: np.ndarray
    attacked_image: np.ndarray
    label: np.ndarray
    clean_prediction: np.ndarray
    attacked_prediction: np.ndarray
    spacing: np.ndarray

    @property
    def perturbation(self) -> np.ndarray:
        """What the attack added, in the model's input units."""
        change: np.ndarray = self.attacked_image - self.image
        return change

    @property
    def scale(self) -> float:
        """Largest absolute perturbation on this slice: the end of the colour scale on both sides."""
        return float(np.abs(self.perturbation).max(initial=0.0))


def read_slice(path: Path) -> Slice:
    """Read the slice that the audit stored for one case.

    Raises:
        InputError: as `read_arrays`.
    """
    arrays = read_arrays({path: [*_IMAGES, *_CLASSES]}, 2)
    finite = {name: np.nan_to_num(array) for name, array in arrays.items()}
    return Slice(**finite | {name: finite[name].astype(int) for name in _CLASSES})
