"""Truncated high frequencies, which cause ripples beside edges, by MONAI's GibbsNoise.

k-space is kept inside a ball of radius (1 - alpha) * sqrt(2) / 2 * longest side
"""

from __future__ import annotations

import math

import numpy as np

from imaseg.corruptions.base import Corruption, Effect
from imaseg.corruptions.scene import Image, Scene

_KEPT = 3.0
"""Smallest radius that is kept, in points of k-space."""


class GibbsRinging(Corruption):
    """Ripples beside edges, as caused by too small an acquisition matrix in MR."""

    title = "Gibbs ringing"
    ct = False

    def _effect(self, scene: Scene, rng: np.random.Generator) -> Effect:
        def apply(alpha: float) -> Image:
            from monai.transforms import GibbsNoise

            return GibbsNoise(alpha)(scene.image).numpy()

        radius = max(scene.shape) / math.sqrt(2)
        return Effect(apply, limit=max(1 - _KEPT / radius, 0.0), describe=lambda alpha: {"alpha": alpha})
