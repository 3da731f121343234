"""White Gaussian noise.

x -> x + sigma * std * n,   n ~ N(0, 1) per voxel,   std: of the channel inside the body
"""

from __future__ import annotations

import numpy as np

from imaseg.corruptions.base import Corruption, Effect
from imaseg.corruptions.scene import Scene


class GaussianNoise(Corruption):
    """White Gaussian noise, as caused by the receiver or by few photons."""

    title = "Gaussian noise"

    def _effect(self, scene: Scene, rng: np.random.Generator) -> Effect:
        noise = rng.standard_normal(scene.image.shape, np.float32) * scene.std.astype(np.float32)
        return Effect(
            lambda sigma: scene.image + np.float32(sigma) * noise,
            limit=3.0,
            describe=lambda sigma: {"sigma_std": sigma},
        )
