"""Another contrast curve, by MONAI's AdjustContrast.

x -> low + range * ((x - low) / range)^g,   g = exp(+-b), the sign drawn
"""

from __future__ import annotations

import math

import numpy as np

from imaseg.corruptions.base import Corruption, Effect
from imaseg.corruptions.scene import Image, Scene


class Gamma(Corruption):
    """Another contrast curve between the lowest and the highest value of each channel."""

    title = "Gamma"
    ct = False

    def _effect(self, scene: Scene, rng: np.random.Generator) -> Effect:
        sign = float(rng.choice([-1, 1]))

        def apply(bend: float) -> Image:
            from monai.transforms import AdjustContrast

            curve = AdjustContrast(gamma=math.exp(sign * bend))
            return np.stack([curve(channel).numpy() for channel in scene.image])

        return Effect(apply, limit=math.log(4), describe=lambda bend: {"gamma": math.exp(sign * bend)})
