"""Slices without signal. The label does not change: the structure is there but was not imaged.

The outermost slices of the body are kept, so that a preparation that crops empty borders keeps the field of view.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from imaseg.corruptions.base import Corruption, Effect
from imaseg.corruptions.scene import Image, Scene

_SHARES = (0.05, 0.1, 0.2, 0.3, 0.4)


class MissingSlices(Corruption):
    """Lost slices, filled with the lowest value of the image."""

    title = "Missing slices"
    physical = True

    def _effect(self, scene: Scene, rng: np.random.Generator) -> Effect:
        inside = _inside(scene)
        order = rng.permutation(inside)  # a higher severity loses the slices of lower ones and more

        def apply(count: float) -> Image:
            image = scene.image.copy()
            there = np.moveaxis(image, scene.through + 1, 1)
            there[:, order[: round(count)]] = scene.low
            return image

        return Effect(
            apply,
            limit=float(len(inside)),
            describe=lambda count: {"slices": float(round(count)), "share": round(count) / len(inside)},
            ladder=[float(max(i + 1, round(share * len(inside)))) for i, share in enumerate(_SHARES)],
        )

    def _why_not(self, scene: Scene) -> str:
        return "" if len(_inside(scene)) else "its body has fewer than three slices"


def _inside(scene: Scene) -> NDArray[np.int64]:
    """The slices of the body without its first and last one."""
    return np.flatnonzero(scene.body.any(axis=scene.planes))[1:-1]
