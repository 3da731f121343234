"""Larger pixels: means over squares `factor` pixels wide within the slice, interpolated back to the original grid.

Severities are factors, not changes of the image: interpolation back from a grid that is hardly coarser already changes
it by more than the mildest severities, and the change then grows little with the factor.
"""

from __future__ import annotations

import numpy as np

from imaseg.corruptions.averaging import averaged
from imaseg.corruptions.base import Corruption, Effect
from imaseg.corruptions.scene import Scene

_FACTORS = (1.5, 2.0, 3.0, 4.0, 6.0)
_FEWEST = 4
"""Smallest number of pixels that must remain along the shorter side."""


class ResolutionLoss(Corruption):
    """Lower resolution within the slices."""

    title = "Resolution loss"
    physical = True

    def _effect(self, scene: Scene, rng: np.random.Generator) -> Effect:
        shorter = min(scene.shape[axis] for axis in scene.planes)
        pixel = max(scene.spacing[axis] for axis in scene.planes)
        return Effect(
            lambda more: averaged(scene.image, 1 + more, scene.planes),
            limit=max(shorter / _FEWEST - 1, 0.0),
            describe=lambda more: {"factor": 1 + more, "pixel_mm": (1 + more) * pixel},
            ladder=[factor - 1 for factor in _FACTORS],
        )
