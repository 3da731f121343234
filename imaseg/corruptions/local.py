"""A place in the body where something is wrong: a smooth spot of drawn place and width."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from imaseg.corruptions.scene import Image, Scene


@dataclass(frozen=True)
class Spot:
    """A Gaussian, 1 at its centre.

    Attributes:
        weights: (X, Y, Z), 0 to 1.
        std: in mm.
    """

    weights: Image
    std: float


def draw_spot(scene: Scene, rng: np.random.Generator, *, narrowest: float, widest: float) -> Spot:
    """Draw a spot about a voxel of the body.

    Args:
        scene: the clean image.
        rng: generator of the draws.
        narrowest: smallest standard deviation, as a share of the body's width (its second longest extent).
        widest: largest one.
    """
    spacing = np.array(scene.spacing)
    places = np.argwhere(scene.body) * spacing
    width = float(np.sort(np.ptp(places, axis=0) + spacing)[-2])
    centre, std = places[rng.integers(len(places))], width * float(rng.uniform(narrowest, widest))
    axes = [
        np.exp(-0.5 * ((np.arange(side) * size - middle) / std) ** 2)
        for side, size, middle in zip(scene.shape, spacing, centre, strict=True)
    ]
    return Spot(np.einsum("x,y,z->xyz", *axes).astype(np.float32), std)
