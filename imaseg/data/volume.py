"""`Volume`, a case in memory, and `Step`, the record of what was done to one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Step = dict[str, Any]
"""Record of one step of a preparation: `name` and its parameters, fit for JSON."""


@dataclass
class Volume:
    """A case in memory.

    Attributes:
        id: case id.
        image: float32 (C, X, Y, Z).
        label: whole numbers (X, Y, Z), int64 unless read compactly, or None.
        affine: voxel index to world in mm, (4, 4).
    """

    id: str
    image: NDArray[np.float32]
    label: NDArray[np.int64] | None
    affine: NDArray[np.float64]

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size in mm along X, Y, Z."""
        x, y, z = (float(size) for size in np.linalg.norm(self.affine[:3, :3], axis=0))
        return x, y, z

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels along X, Y, Z."""
        return self.image.shape[1:]
