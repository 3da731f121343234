"""Streak artefacts between two pieces of metal, computed in a sinogram (scikit-image's radon and iradon).

Attenuation is relative to soft tissue (the body's median). With p the projection of the tissue and m that of two discs
of metal, beam hardening lowers the measured attenuation of rays through metal by an amount that grows with the square
of the attenuation, and photon starvation makes it noisy:

    lost = s (p_max + m_max) ((p + m)^2 - p^2) / max((p + m)^2 - p^2) * (1 + 0.3 n),   x -> x - iradon(lost)

The metal itself is not drawn, and its own voxels do not change, so that s = 0 is the clean image. Slices are projected
on a grid of at most 96 pixels, which bounds the time; streaks are smooth against the pixels of a CT.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import zoom

from imaseg.corruptions.base import Corruption, Effect
from imaseg.corruptions.scene import Image, Scene

_GRID = 96
_ANGLES = 120
_METAL = 8.0
"""Attenuation of metal, relative to soft tissue."""


class CTStreaks(Corruption):
    """Streaks, as caused by metal in a CT."""

    title = "CT streaks"
    other = False

    def _effect(self, scene: Scene, rng: np.random.Generator) -> Effect:
        streaks = np.zeros_like(scene.image)
        slices = np.moveaxis(scene.image, scene.through + 1, 1)
        into = np.moveaxis(streaks, scene.through + 1, 1)
        body = np.moveaxis(scene.body, scene.through, 0)
        first, last = _extent(len(body), rng)
        middle = body[(first + last) // 2]
        metal = _Metal(
            middle if middle.any() else np.ones_like(middle), tuple(scene.spacing[a] for a in scene.planes), rng
        )
        for c in range(len(slices)):
            low, soft = float(scene.low[c, 0, 0, 0]), float(np.median(scene.image[c][scene.body]))
            for z in range(first, last) if soft > low else ():
                into[c, z] = (soft - low) * metal.streaks((slices[c, z] - low) / (soft - low))
        return Effect(
            lambda lost: scene.image + np.float32(lost) * streaks, limit=1.0, describe=lambda lost: {"lost_share": lost}
        )


def _extent(slices: int, rng: np.random.Generator) -> tuple[int, int]:
    """First slice of the metal and the one after its last; it lies in half of the slices."""
    length = max((slices + 1) // 2, 1)
    first = int(rng.integers(slices - length + 1))
    return first, first + length


class _Metal:
    """Two metal discs inside a body, on a coarse grid of square pixels."""

    def __init__(self, body: NDArray[np.bool_], spacing: tuple[float, ...], rng: np.random.Generator) -> None:
        self.shape = body.shape
        size = np.array(body.shape) * np.array(spacing)
        self.pixels = np.maximum(np.rint(size / size.max() * min(_GRID, max(body.shape))), 1).astype(int)
        body_pixels = np.argwhere(body) * self.pixels / np.array(body.shape)
        first = body_pixels[rng.integers(len(body_pixels))]
        second = body_pixels[
            np.argsort(np.linalg.norm(body_pixels - first, axis=1))[int(len(body_pixels) * rng.uniform(0.3, 0.8))]
        ]
        radius = max(self.pixels.max() / 40, 1.0)
        grid = np.indices(self.pixels).transpose(1, 2, 0)
        distance = np.minimum(*(np.linalg.norm(grid - centre, axis=2) for centre in (first, second)))
        self.angles = np.linspace(0, 180, _ANGLES, endpoint=False)
        self.beside = distance > radius + 1
        self.projection = self._project(_METAL * (distance <= radius))
        self.noise = 1 + 0.3 * rng.standard_normal(self.projection.shape)

    def streaks(self, tissue: Image) -> Image:
        """The values to add to a slice at s = 1, in units of the attenuation of soft tissue."""
        from skimage.transform import iradon

        path = self._project(
            zoom(tissue.clip(min=0), self.pixels / np.array(self.shape), order=1, grid_mode=True, mode="nearest")
        )
        lost = (path + self.projection) ** 2 - path**2
        if lost.max() <= 0:
            return np.zeros(self.shape, np.float32)
        lost *= (path.max() + self.projection.max()) / lost.max() * self.noise
        square = iradon(lost, self.angles, output_size=int(self.pixels.max()), circle=False)
        inside = tuple(slice((len(square) - n) // 2, (len(square) - n) // 2 + n) for n in self.pixels)
        fine = zoom(
            square[inside] * self.beside, np.array(self.shape) / self.pixels, order=1, grid_mode=True, mode="nearest"
        )
        return -fine.astype(np.float32)

    def _project(self, plane: NDArray[np.generic]) -> NDArray[np.float64]:
        from skimage.transform import radon

        side = int(self.pixels.max())
        square = np.zeros((side, side))
        start = (side - self.pixels) // 2
        square[start[0] : start[0] + self.pixels[0], start[1] : start[1] + self.pixels[1]] = plane
        sinogram: NDArray[np.float64] = radon(square, self.angles, circle=False)
        return sinogram
