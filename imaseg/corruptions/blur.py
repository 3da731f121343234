"""Gaussian blur in mm, by TorchIO's Blur; it changes little along thick slices."""

from __future__ import annotations

import numpy as np

from imaseg.corruptions.base import Corruption, Effect
from imaseg.corruptions.scene import Scene
from imaseg.corruptions.torchio_run import transformed


class Blur(Corruption):
    """Gaussian blur, as caused by a soft reconstruction kernel or small movements."""

    title = "Blur"
    library = "torchio"

    def _effect(self, scene: Scene, rng: np.random.Generator) -> Effect:
        return Effect(
            lambda std: transformed("Blur", scene.image, scene.spacing, std=(std, std, std)),
            limit=min(scene.shape[axis] * scene.spacing[axis] for axis in scene.planes) / 4,
            describe=lambda std: {"std_mm": std},
        )
