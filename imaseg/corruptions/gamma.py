"""A changed contrast curve, by MONAI's AdjustContrast with `retain_stats`.

    x -> a + c ((x - low) / range)^g,   g = exp(+-b), the sign drawn;   a, c: mean and standard deviation stay

A curve mostly makes the whole image darker or brighter. Normalisation undoes that, and it would dominate the change of
contrast, which the severity should measure; hence mean and standard deviation are kept.
"""

from __future__ import annotations

import math

import numpy as np

from imaseg.corruptions.base import Corruption, Effect
from imaseg.corruptions.scene import Image, Scene


class Gamma(Corruption):
    """A changed contrast curve; mean and standard deviation stay the same."""

    title = "Gamma"
    ct = False

    def _effect(self, scene: Scene, rng: np.random.Generator) -> Effect:
        sign = float(rng.choice([-1, 1]))

        def apply(bend: float) -> Image:
            from monai.transforms import AdjustContrast

            curve = AdjustContrast(gamma=math.exp(sign * bend), retain_stats=True)
            return np.stack([curve(channel).numpy() for channel in scene.image])

        return Effect(apply, limit=math.log(4), describe=lambda bend: {"gamma": math.exp(sign * bend)})
