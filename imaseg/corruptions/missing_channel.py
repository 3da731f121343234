"""One of several channels fades to its mean.

    x_c -> (1 - s) x_c + s mean_c,   c drawn;   s = 1: nothing is left of it

It is applied to the model's input: most preparations refuse a constant channel, and users without that channel would
feed zeros, the mean of a z-scored channel.
"""

from __future__ import annotations

import numpy as np

from imaseg.corruptions.base import Corruption, Effect
from imaseg.corruptions.scene import Image, Scene


class MissingChannel(Corruption):
    """One of several channels fades and is lost at severity 5."""

    title = "Missing channel"
    physical = True
    after_normalisation = True

    def _effect(self, scene: Scene, rng: np.random.Generator) -> Effect:
        lost = int(rng.integers(len(scene.image)))

        def apply(share: float) -> Image:
            image = scene.image.copy()
            image[lost] += np.float32(share) * (scene.mean[lost].astype(np.float32) - image[lost])
            return image

        return Effect(
            apply,
            limit=1.0,
            describe=lambda share: {"channel": float(lost), "share": share},
            ladder=(0.2, 0.4, 0.6, 0.8, 1.0),
        )

    def _why_not(self, scene: Scene) -> str:
        return "it has one channel" if len(scene.image) == 1 else ""
