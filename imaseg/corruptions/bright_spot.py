"""A spot that is too bright, as of flow, a leaking coil element, or contrast medium and metal in a CT.

x -> x + s * std * g,   g: Gaussian of drawn place and width (5 to 10 % of the body);   std: of the channel in the body
"""

from __future__ import annotations

import numpy as np

from imaseg.corruptions.base import Corruption, Effect
from imaseg.corruptions.local import draw_spot
from imaseg.corruptions.scene import Scene


class BrightSpot(Corruption):
    """A bright spot in the body; the label stays, for the tissue below is there."""

    title = "Bright spot"

    def _effect(self, scene: Scene, rng: np.random.Generator) -> Effect:
        spot = draw_spot(scene, rng, narrowest=0.05, widest=0.1)
        added = (scene.std * spot.weights).astype(np.float32)
        return Effect(
            lambda peak: scene.image + np.float32(peak) * added,
            limit=15.0,
            describe=lambda peak: {"peak_std": peak, "width_mm": spot.std},
        )
