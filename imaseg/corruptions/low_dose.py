"""Quantum noise of a CT at a lower dose, with the spectrum that filtered back-projection gives it.

White noise of the projections leaves the ramp filter and back-projection with a noise power spectrum (Riederer, Pelc &
Chesler, Phys Med Biol 1978)

    NPS(f) ~ f W(f)^2,   W(f) = (1 + cos(pi f / f_c)) / 2 up to f_c, then 0

f in cycles per mm within the slice; W the Hann window of a body kernel, whose cut-off f_c is 0.8 / mm or the Nyquist
frequency of wider pixels. The noise peaks at 0.23 / mm, as measured on scanners (Solomon et al., Med Phys 2012), so it
is blotchier than white noise of the same sigma. Slices are independent, and sigma is the same everywhere: it goes with
1 / sqrt(dose).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from imaseg.corruptions.base import Corruption, Effect
from imaseg.corruptions.scene import Scene

_CUT_OFF = 0.8
"""Cycles per mm."""


class LowDose(Corruption):
    """Noise of a low dose, correlated as filtered back-projection makes it."""

    title = "Low dose"
    other = False

    def _effect(self, scene: Scene, rng: np.random.Generator) -> Effect:
        sides = [scene.shape[axis] for axis in scene.planes]
        shaped = amplitude(sides, [scene.spacing[axis] for axis in scene.planes])
        axes = [axis + 1 for axis in scene.planes]
        shape = [1 if axis == scene.through else side for axis, side in enumerate(scene.shape)]
        white = rng.standard_normal(scene.image.shape, np.float32)
        correlated = np.fft.ifftn(np.fft.fftn(white, axes=axes) * shaped.reshape(shape), axes=axes).real
        noise = (correlated * scene.std).astype(np.float32)
        return Effect(
            lambda sigma: scene.image + np.float32(sigma) * noise,
            limit=3.0,
            describe=lambda sigma: {"sigma_std": sigma, "sigma": sigma * float(scene.std[0].item())},
        )


def amplitude(sides: list[int], spacing: list[float]) -> NDArray[np.float64]:
    """(X, Y): factors of the Fourier coefficients of white noise of variance 1, which keeps that variance.

    Args:
        sides: number of pixels along both axes.
        spacing: their size in mm.
    """
    waves = [np.fft.fftfreq(side, size) for side, size in zip(sides, spacing, strict=True)]
    frequency = np.hypot(*np.meshgrid(*waves, indexing="ij"))
    cut_off = min(_CUT_OFF, 0.5 / max(spacing))
    window = np.where(frequency < cut_off, 0.5 * (1 + np.cos(np.pi * frequency / cut_off)), 0)
    shaped: NDArray[np.float64] = np.sqrt(frequency) * window
    return shaped / max(float(np.sqrt((shaped**2).mean())), 1e-12)
