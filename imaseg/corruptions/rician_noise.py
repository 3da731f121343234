"""Noise of magnitude images (Gudbjartsson & Patz, MRM 1995), by MONAI's RandRicianNoise.

    x -> sqrt((x + sigma n1)^2 + (sigma n2)^2)

Unlike Gaussian noise it lifts dark regions: where x = 0 its mean is sigma sqrt(pi / 2).
"""

from __future__ import annotations

import numpy as np

from imaseg.corruptions.base import Corruption, Effect
from imaseg.corruptions.scene import Image, Scene


class RicianNoise(Corruption):
    """Noise of a magnitude image, whose mean is above 0 where there is no signal."""

    title = "Rician noise"
    ct = False

    def _effect(self, scene: Scene, rng: np.random.Generator) -> Effect:
        seed = int(rng.integers(2**32 - 1))

        def apply(sigma: float) -> Image:
            from monai.transforms import RandRicianNoise

            widths = [float(sigma * std) for std in scene.std.ravel()]
            noise = RandRicianNoise(prob=1.0, std=widths, channel_wise=True, relative=False, sample_std=False)
            noise.set_random_state(seed=seed)  # the same draw for every sigma
            return scene.from_signal(noise(scene.signal.copy()).numpy())

        return Effect(apply, limit=3.0, describe=lambda sigma: {"sigma_std": sigma})
