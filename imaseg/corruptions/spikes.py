"""Single wrong points of k-space, which cause stripes across the image (herringbone), by TorchIO's Spike.

Their size is given as a share of the largest point of k-space.
"""

from __future__ import annotations

import numpy as np

from imaseg.corruptions.base import Corruption, Effect
from imaseg.corruptions.scene import Scene
from imaseg.corruptions.torchio_run import transformed


class Spikes(Corruption):
    """Stripes, as caused by electric discharges in an MR scanner."""

    title = "Spikes"
    library = "torchio"
    ct = False

    def _effect(self, scene: Scene, rng: np.random.Generator) -> Effect:
        count = int(rng.integers(1, 4))
        sides = np.array(scene.shape)
        # Away from the middle, where a spike would only make the image brighter.
        steps = np.maximum(np.rint(rng.uniform(0.1, 0.4, (count, 3)) * sides), 1) * rng.choice([-1, 1], (count, 3))
        places = np.where(sides > 2, sides // 2 + steps, sides // 2).clip(0, sides - 1)
        return Effect(
            lambda size: scene.from_signal(
                transformed(
                    "Spike", scene.signal, scene.spacing, spikes_positions=(places + 0.5) / sides, intensity=size
                )
            ),
            limit=3.0,
            describe=lambda size: {"intensity": size, "spikes": float(count)},
        )
