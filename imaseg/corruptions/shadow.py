"""A smooth local loss of signal, as of a failing coil element, metal beside the slice, or scatter in a CT.

x -> x (1 - s g),   x from the lowest value of the image;   g: Gaussian, drawn place and width (15 to 35 % of the body)
"""

from __future__ import annotations

import numpy as np

from imaseg.corruptions.base import Corruption, Effect
from imaseg.corruptions.local import draw_spot
from imaseg.corruptions.scene import Scene


class Shadow(Corruption):
    """A dark region in the body; the label stays, for the tissue within is there."""

    title = "Shadow"

    def _effect(self, scene: Scene, rng: np.random.Generator) -> Effect:
        spot = draw_spot(scene, rng, narrowest=0.15, widest=0.35)
        lost = (scene.image - scene.low) * spot.weights
        return Effect(
            lambda share: scene.image - np.float32(share) * lost,
            limit=1.0,
            describe=lambda share: {"lost_share": share, "width_mm": spot.std},
        )
