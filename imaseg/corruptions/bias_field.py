"""Uneven coil sensitivity, by TorchIO's BiasField (Van Leemput et al., IEEE TMI 1999).

x -> x * exp(b f),   f: random polynomial of third order without constant term, largest |f| 1
"""

from __future__ import annotations

import math

import numpy as np

from imaseg.corruptions.base import Corruption, Effect
from imaseg.corruptions.scene import Scene
from imaseg.corruptions.torchio_run import transformed

_ORDER = 3
_TERMS = 20
"""Monomials up to third order in three variables; the constant comes first."""


class BiasField(Corruption):
    """Smooth uneven brightness, as caused by the sensitivity of a coil."""

    title = "Bias field"
    library = "torchio"
    ct = False

    def _effect(self, scene: Scene, rng: np.random.Generator) -> Effect:
        terms = rng.uniform(-1, 1, _TERMS)
        terms[0] = 0.0
        ones = np.ones((1, *scene.shape), np.float32)
        field = np.log(transformed("BiasField", ones, scene.spacing, coefficients=terms.tolist(), order=_ORDER))
        field /= max(float(np.abs(field).max()), 1e-6)
        return Effect(
            lambda b: scene.from_signal(scene.signal * np.exp(np.float32(b) * field)),
            limit=math.log(4),
            describe=lambda b: {"largest_gain": math.exp(b)},
        )
