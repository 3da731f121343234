"""The linear map from native to prepared voxels, as a permutation of axes and one sparse matrix per axis.

Orienting permutes and flips axes, resampling multiplies by a matrix along each axis, cropping selects rows of it,
padding adds empty ones. As matrices they can be transposed.
"""

from __future__ import annotations

from collections.abc import Sequence

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, eye_array

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
        self._order = [0, 1, 2]  # native axis that each axis of the present grid is
        self._axes = [eye_array(side, dtype=np.float32, format="csr") for side in shape]
        for step in steps:
            if step["name"] == "orient":
                self._turn(step)
            elif step["name"] == "resample":
                ratios = np.asarray(step["spacing_to"]) / np.asarray(step["spacing_from"])
                orders = step.get("orders", (1, 1, 1))
                figures = zip(step["shape_from"], step["shape_to"], ratios, orders, strict=True)
                if step.get("border") == "continued":
                    matrices = [zoom_weights(*axis) for axis in figures]
                else:
                    starts = step.get("start", (None, None, None))
                    matrices = [axis_weights(*axis, start) for axis, start in zip(figures, starts, strict=True)]
                self._axes = [matrix @ before for matrix, before in zip(matrices, self._axes, strict=True)]
            elif step["name"] == "crop":
                pieces = zip(step["shape_from"], step["start"], step["shape"], self._axes, strict=True)
                self._axes = [_piece(before, start, n) @ matrix for before, start, n, matrix in pieces]

    def _turn(self, step: Step) -> None:
        here, there = (nib.orientations.axcodes2ornt(tuple(step[end])) for end in ("from", "to"))
        change = nib.orientations.ornt_transform(here, there)
        order, axes = list(self._order), list(self._axes)
        for old, (new, direction) in enumerate(change):
            order[int(new)] = self._order[old]
            axes[int(new)] = self._axes[old] if direction > 0 else self._axes[old][::-1]
        self._order, self._axes = order, axes

    @property
    def gain(self) -> float:
        """Upper bound of the squared spectral norm of the map."""
        rows_and_columns = [(abs(matrix).sum(axis=0).max(), abs(matrix).sum(axis=1).max()) for matrix in self._axes]
        return float(np.prod(rows_and_columns))

    def forward(self, native: Floats) -> Floats:
        """Map an array (X, Y, Z) on the native grid to the prepared grid."""
        return along_axes(self._axes, native.transpose(self._order))

    def transposed(self, prepared: Floats) -> Floats:
        """Apply the transpose of the map to an array (X, Y, Z) on the prepared grid; returns one on the native grid."""
        native = along_axes([matrix.T for matrix in self._axes], prepared)
        return np.ascontiguousarray(native.transpose(np.argsort(self._order)))

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


def _piece(before: int, start: int, count: int) -> csr_array:
    """Matrix (count, before) that takes voxels from `start` on; those beyond the border, which are padding, take none.

    >>> _piece(2, -1, 3).toarray().astype(int).tolist()
    [[0, 0], [1, 0], [0, 1]]
    """
    return csr_array(eye_array(count, before, k=start, dtype=np.float32))
