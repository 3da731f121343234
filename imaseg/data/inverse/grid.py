"""The linear map from native to prepared voxels, as a permutation of axes and one sparse matrix per axis.

Orienting permutes and flips axes, resampling multiplies by a matrix along each axis, cropping selects rows of it. As
matrices they can be transposed.
"""

from __future__ import annotations

from collections.abc import Sequence

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import eye_array

from imaseg.data.preparation.axes import along_axes, axis_weights, zoom_weights
from imaseg.data.volume import Step

Floats = NDArray[np.float32]


class GridMap:
    """Linear map of voxel values from the native grid to the prepared one.

    Args:
        shape: voxels of the native image along its axes.
        steps: the records of its preparation.
    """

    def __init__(self, shape: Sequence[int], steps: Sequence[Step]) -> None:
        oriented = [step for step in steps if step["name"] == "orient"]
        ends = [tuple(oriented[0][key]) for key in ("from", "to")] if oriented else ["RAS", "RAS"]
        here, there = (nib.orientations.axcodes2ornt(end) for end in ends)
        self._turn = nib.orientations.ornt_transform(here, there)
        self._back = nib.orientations.ornt_transform(there, here)
        sides = [0, 0, 0]
        for axis, side in zip(self._turn[:, 0].astype(int), shape, strict=True):
            sides[axis] = side
        self._axes = [eye_array(side, dtype=np.float32, format="csr") for side in sides]
        for step in steps:
            if step["name"] == "resample":
                ratios = np.asarray(step["spacing_to"]) / np.asarray(step["spacing_from"])
                orders = step.get("orders", (1, 1, 1))
                figures = zip(step["shape_from"], step["shape_to"], ratios, orders, strict=True)
                weights = zoom_weights if step.get("border") == "continued" else axis_weights
                self._axes = [weights(*axis) @ before for axis, before in zip(figures, self._axes, strict=True)]
            elif step["name"] == "crop":
                pieces = zip(self._axes, step["start"], step["shape"], strict=True)
                self._axes = [matrix[start : start + n] for matrix, start, n in pieces]

    @property
    def gain(self) -> float:
        """Upper bound of the squared spectral norm of the map."""
        rows_and_columns = [(abs(matrix).sum(axis=0).max(), abs(matrix).sum(axis=1).max()) for matrix in self._axes]
        return float(np.prod(rows_and_columns))

    def forward(self, native: Floats) -> Floats:
        """Map an array (X, Y, Z) on the native grid to the prepared grid."""
        return along_axes(self._axes, nib.apply_orientation(native, self._turn))

    def transposed(self, prepared: Floats) -> Floats:
        """Apply the transpose of the map to an array (X, Y, Z) on the prepared grid; returns one on the native grid."""
        native = along_axes([matrix.T for matrix in self._axes], prepared)
        return np.ascontiguousarray(nib.apply_orientation(native, self._back))

    def nearest_source(self, wanted: Floats, *, allowed: NDArray[np.bool_] | None = None, steps: int = 50) -> Floats:
        """The array on the native grid whose image under the map is nearest to `wanted`, by least squares.

        No absolute value exceeds the largest one in `wanted`, and native voxels that only contribute to voxels where
        `wanted` is 0 stay 0. Accelerated projected gradient (Beck & Teboulle, SIAM Journal on Imaging Sciences 2009);
        without resampling its first step is the exact answer.

        Args:
            wanted: (X, Y, Z) on the prepared grid.
            allowed: native voxels that may differ from 0; all if not given.
            steps: number of search steps.
        """
        largest, gain = np.float32(np.abs(wanted).max()), np.float32(self.gain)
        free = self.transposed(np.abs(wanted)) != 0
        free = free if allowed is None else free & allowed
        current = np.zeros(free.shape, np.float32)
        ahead, pace = current, 1.0
        for _ in range(steps):
            missing = wanted - self.forward(ahead)
            moved = np.where(free, ahead + self.transposed(missing) / gain, 0).clip(-largest, largest)
            faster = (1 + (1 + 4 * pace**2) ** 0.5) / 2
            ahead = moved + np.float32((pace - 1) / faster) * (moved - current)
            if np.linalg.norm(moved - current) <= 1e-3 * np.linalg.norm(moved):
                return moved
            current, pace = moved, faster
        return current
