"""Another MR contrast: each tissue becomes brighter or darker on its own, also past its neighbours.

Four tissues are found by k-means of the brightness inside the body. Each moves by a draw, the brightness between them
smoothly (piecewise cubic, without overshoot); mean and standard deviation are kept as `turning.py` says. As in SynthSeg
(Billot et al., MedIA 2023) the contrast is drawn and not that of a sequence; as in Models Genesis (Zhou et al., MedIA
2021) it is a smooth function of the brightness, so that no labels are needed.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.interpolate import PchipInterpolator

from imaseg.corruptions.base import Corruption, Effect
from imaseg.corruptions.scene import Scene
from imaseg.corruptions.turning import Curve, Values, turning

_TISSUES = 4
_ROUNDS = 50
_QUANTILES = 256


class TissueContrast(Corruption):
    """Another contrast between tissues; mean and standard deviation stay the same."""

    title = "Tissue contrast"
    ct = False

    def _effect(self, scene: Scene, rng: np.random.Generator) -> Effect:
        draws = rng.uniform(-1, 1, (len(scene.image), _TISSUES))
        turned = turning(scene, [_curve(moves) for moves in draws])
        return Effect(
            lambda change: turned(_angle(change)),
            limit=math.sqrt(2),
            describe=lambda change: {"correlation": math.cos(_angle(change))},
        )


def _angle(change: float) -> float:
    """The angle that changes an image by so much: the parameter is the change, so that calibration looks once."""
    return 2 * math.asin(change / 2)


def _curve(moves: Values) -> Curve:
    """How far each brightness moves, if tissues move by `moves` from the darkest to the brightest."""

    def curve(unit: Values) -> Values:
        centres = tissues(unit)
        if len(centres) == 1:
            return np.zeros_like(unit)
        return PchipInterpolator(centres, moves[: len(centres)])(unit.clip(centres[0], centres[-1]))

    return curve


def tissues(values: Values) -> Values:
    """Mean brightness of at most four tissues, rising: k-means in one dimension.

    >>> tissues(np.array([5.0, 5.2, 1.0, 9.0, 1.2, 3.0, 8.8, 3.2])).round(2).tolist()
    [1.13, 3.1, 5.1, 8.87]
    """
    sample = np.quantile(values, (np.arange(_QUANTILES) + 0.5) / _QUANTILES, method="nearest")
    centres = np.unique(sample[_QUANTILES // (2 * _TISSUES) :: _QUANTILES // _TISSUES])
    for _ in range(_ROUNDS):
        nearest = np.searchsorted((centres[1:] + centres[:-1]) / 2, sample)
        moved = np.array([sample[nearest == k].mean() for k in np.unique(nearest)])
        if np.array_equal(moved, centres):
            break
        centres = moved
    return centres
