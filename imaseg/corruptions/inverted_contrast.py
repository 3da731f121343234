"""Contrast that turns into its negative, as between T1- and T2-weighted images.

On the way there the middle greys become the darkest or the brightest ones (drawn), as `turning.py` says with h = +-u^2,
|u| cut at 2. Severities are angles and not changes of the image: the negative is a change by 2 standard deviations, far
above the ladder. Models Genesis (Zhou et al., MedIA 2021) trains on such negatives.
"""

from __future__ import annotations

import math

import numpy as np

from imaseg.corruptions.base import Corruption, Effect
from imaseg.corruptions.scene import Scene
from imaseg.corruptions.turning import turning

_DEGREES = (20.0, 45.0, 90.0, 135.0, 180.0)


class InvertedContrast(Corruption):
    """Contrast on its way to the negative, which is severity 5; mean and standard deviation stay the same."""

    title = "Inverted contrast"
    ct = False
    physical = True

    def _effect(self, scene: Scene, rng: np.random.Generator) -> Effect:
        sign = float(rng.choice([-1, 1]))
        return Effect(
            turning(scene, [lambda unit: sign * unit.clip(-2, 2) ** 2] * len(scene.image)),
            limit=math.pi if scene.std.any() else 0.0,
            describe=lambda angle: {"degrees": math.degrees(angle), "correlation": math.cos(angle)},
            ladder=[math.radians(degrees) for degrees in _DEGREES],
        )
