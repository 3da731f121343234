"""Errors in every n-th line of k-space, as caused by breathing or pulsation, by TorchIO's Ghosting.

line -> (1 - s) * line;   s = 1 loses it, s = 2 measures it in opposite phase, which is the worst there is
"""

from __future__ import annotations

import numpy as np

from imaseg.corruptions.base import Corruption, Effect
from imaseg.corruptions.scene import Scene
from imaseg.corruptions.torchio_run import transformed


class Ghosting(Corruption):
    """Faint copies of the image along the phase-encoding axis, as caused by breathing or pulsation."""

    title = "Ghosting"
    library = "torchio"
    ct = False

    def _effect(self, scene: Scene, rng: np.random.Generator) -> Effect:
        axis = int(rng.choice([axis for axis in scene.planes if scene.shape[axis] > 1] or [2]))
        ghosts = int(rng.integers(3, 7))
        return Effect(
            lambda s: transformed(
                "Ghosting", scene.image, scene.spacing, num_ghosts=ghosts, axis=axis, intensity=s, restore=None
            ),
            limit=2.0,
            describe=lambda s: {"intensity": s, "ghosts": float(ghosts), "axis": float(axis)},
        )
