"""Movements of the patient between lines of k-space, by TorchIO's Motion (Shaw et al., MIDL 2019).

The subject rests, then takes three new poses at random times; each line along the phase-encoding axis is measured in
the pose of its time, and the middle of k-space in the first one. Poses differ by up to as many degrees as millimetres.
"""

from __future__ import annotations

import numpy as np

from imaseg.corruptions.base import Corruption, Effect
from imaseg.corruptions.scene import Image, Scene
from imaseg.corruptions.torchio_run import transformed

_POSES = 3


class Motion(Corruption):
    """Movements of the patient during an MR acquisition."""

    title = "Motion"
    library = "torchio"
    ct = False

    def _effect(self, scene: Scene, rng: np.random.Generator) -> Effect:
        phase = int(rng.choice([axis for axis in scene.planes if scene.shape[axis] > 1] or [2]))
        # TorchIO measures along the last axis.
        order = [axis for axis in range(3) if axis != phase] + [phase]
        forward, back = [0, *(axis + 1 for axis in order)], [0, *(order.index(axis) + 1 for axis in range(3))]
        times = (np.arange(1, _POSES + 1) + rng.uniform(-0.3, 0.3, _POSES)) / (_POSES + 1)
        turns, shifts = rng.uniform(-1, 1, (2, _POSES, 3))
        if scene.shape[scene.through] == 1:  # within the slice
            across = order.index(scene.through)
            turns[:, [axis for axis in range(3) if axis != across]] = 0
            shifts[:, across] = 0

        def apply(size: float) -> Image:
            moved = transformed(
                "Motion",
                scene.image.transpose(forward),
                (scene.spacing[order[0]], scene.spacing[order[1]], scene.spacing[order[2]]),
                degrees=turns * size,
                translation=shifts * size,
                times=times,
                image_interpolation="linear",
            )
            return moved.transpose(back)

        return Effect(apply, limit=15.0, describe=lambda size: {"largest_mm": size, "largest_degrees": size})
