"""A tilted patient: rotation about a random axis through the centre of the image, in mm; the label rotates too."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from imaseg.corruptions.base import Corruption, Effect
from imaseg.corruptions.moving import moved_image, moved_label, rotation_matrix
from imaseg.corruptions.scene import Scene


class Rotation(Corruption):
    """A tilted patient: a rotation of image and label, within the slice if there is only one."""

    title = "Rotation"
    physical = True

    def _effect(self, scene: Scene, rng: np.random.Generator) -> Effect:
        axis = rng.standard_normal(3)
        if scene.shape[scene.through] == 1:
            axis = np.sign(axis[scene.through]) * np.eye(3)[scene.through]
        axis /= np.linalg.norm(axis)
        spacing, middle = np.array(scene.spacing), (np.array(scene.shape) - 1) / 2

        def way(degrees: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
            matrix = rotation_matrix(axis, -degrees) * spacing / spacing[:, None]
            return matrix, middle - matrix @ middle

        return Effect(
            lambda degrees: moved_image(scene.image, *way(degrees)),
            limit=45.0,
            describe=lambda degrees: {"degrees": degrees},
            ladder=(2.0, 4.0, 8.0, 12.0, 16.0),
            move=lambda degrees, label: moved_label(label, *way(degrees)),
        )
