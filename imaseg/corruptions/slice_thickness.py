"""Thicker slices: means over slabs `factor` slices thick, interpolated back to the original grid."""

from __future__ import annotations

import numpy as np

from imaseg.corruptions.averaging import averaged
from imaseg.corruptions.base import Corruption, Effect
from imaseg.corruptions.scene import Scene

_FACTORS = (2.0, 3.0, 4.0, 6.0, 8.0)


class SliceThickness(Corruption):
    """Thicker slices, as in another acquisition protocol."""

    title = "Slice thickness"
    physical = True

    def _effect(self, scene: Scene, rng: np.random.Generator) -> Effect:
        slices, thickness = scene.shape[scene.through], scene.spacing[scene.through]
        return Effect(
            lambda more: averaged(scene.image, 1 + more, (scene.through,)),
            limit=max(slices / 2, 2.0) - 1,
            describe=lambda more: {"factor": 1 + more, "slice_mm": (1 + more) * thickness},
            ladder=[factor - 1 for factor in _FACTORS],
        )

    def _why_not(self, scene: Scene) -> str:
        return "it has one slice" if scene.shape[scene.through] == 1 else ""
