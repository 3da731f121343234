"""A constant offset of all intensities.

x -> x +- s * std,   the sign drawn;   std: of the channel inside the body
"""

from __future__ import annotations

import numpy as np

from imaseg.corruptions.base import Corruption, Effect
from imaseg.corruptions.scene import Scene


class IntensityShift(Corruption):
    """A constant offset of all intensities, as caused by a scanner out of calibration."""

    title = "Intensity shift"

    def _effect(self, scene: Scene, rng: np.random.Generator) -> Effect:
        sign = float(rng.choice([-1, 1]))
        return Effect(
            lambda shift: scene.image + (sign * shift * scene.std).astype(np.float32),
            limit=3.0,
            describe=lambda shift: {"shift_std": sign * shift},
        )
