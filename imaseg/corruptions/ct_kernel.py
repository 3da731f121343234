"""Another reconstruction kernel of a CT, sharper or softer (drawn), within the slice.

Another kernel multiplies the spectrum by the ratio of both transfer functions (Ohkubo et al., Med Phys 2011). With the
Gaussian G(f) = exp(-2 pi^2 s^2 f^2), f in cycles per mm:

    sharper, by b:   H(f) = 1 + b (1 - G(f)),  s = 0.7 mm, one pixel if that is wider
    softer, by s mm: H(f) = G(f)

Sharper kernels overshoot at edges and lift the noise; softer ones blur both.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from scipy.ndimage import gaussian_filter1d

from imaseg.corruptions.base import Corruption, Effect
from imaseg.corruptions.scene import Image, Scene

_DETAIL = 0.7
"""Width in mm of the details that a sharp kernel enhances."""
_SOFTEST = 5.0


class CTKernel(Corruption):
    """A sharper or softer reconstruction kernel."""

    title = "CT kernel"
    other = False

    def _effect(self, scene: Scene, rng: np.random.Generator) -> Effect:
        if rng.random() < 0.5:
            return Effect(
                partial(_soft, scene), limit=_SOFTEST, describe=lambda std: {"enhancement": 0.0, "blur_mm": std}
            )
        details = scene.image - _soft(scene, max(_DETAIL, *(scene.spacing[axis] for axis in scene.planes)))
        return Effect(
            lambda more: scene.image + np.float32(more) * details,
            limit=20.0,
            describe=lambda more: {"enhancement": more, "blur_mm": 0.0},
        )


def _soft(scene: Scene, std: float) -> Image:
    """The image blurred within its slices by a Gaussian of `std` mm."""
    image = scene.image
    for axis in scene.planes:
        image = gaussian_filter1d(image, std / scene.spacing[axis], axis=axis + 1, mode="nearest")
    return image
