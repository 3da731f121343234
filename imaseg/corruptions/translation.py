"""A patient off centre: translation along a random direction, in mm; the label moves too."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from imaseg.corruptions.base import Corruption, Effect
from imaseg.corruptions.moving import moved_image, moved_label
from imaseg.corruptions.scene import Scene


class Translation(Corruption):
    """A patient off centre by at most a quarter of the field of view; within the slice if there is only one."""

    title = "Translation"
    physical = True

    def _effect(self, scene: Scene, rng: np.random.Generator) -> Effect:
        direction = rng.standard_normal(3)
        if scene.shape[scene.through] == 1:
            direction[scene.through] = 0
        direction /= np.linalg.norm(direction)
        voxels = direction / np.array(scene.spacing)

        def way(mm: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
            return np.eye(3), -mm * voxels

        return Effect(
            lambda mm: moved_image(scene.image, *way(mm)),
            limit=float((np.array(scene.shape) / 4 / np.maximum(np.abs(voxels), 1e-9)).min()),
            describe=lambda mm: {"mm": mm},
            ladder=(1.0, 2.0, 3.0, 5.0, 8.0),
            move=lambda mm, label: moved_label(label, *way(mm)),
        )
