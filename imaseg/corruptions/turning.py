"""Turns the contrast inside the body into another one; its mean and standard deviation stay, and air stays as it is.

With u the brightness in standard deviations from its mean, and h a function of u of mean 0 and standard deviation 1
that is uncorrelated with u,

    u -> cos(a) u + sin(a) h(u)

At an angle a the correlation with the clean image is cos(a) and the RMS of the change 2 sin(a / 2) standard deviations;
at 180 degrees the contrast is inverted. Normalisation undoes shifts and gains, which therefore are not part of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from imaseg.corruptions.scene import Image, Scene

Values = NDArray[np.float64]
Curve = Callable[[Values], Values]
_NOTHING = 1e-6


def turning(scene: Scene, curves: Sequence[Curve]) -> Callable[[float], Image]:
    """Return the function from an angle in radians to the image (C, X, Y, Z) with turned contrast.

    Args:
        scene: the clean image; a channel that does not vary stays as it is.
        curves: per channel h as a function of u, before it is made uncorrelated with u; smooth, so that tissues of
            like brightness stay alike.
    """
    inside = [scene.image[c][scene.body].astype(np.float64) for c in range(len(scene.image))]
    stds, means = scene.std.ravel(), scene.mean.ravel()
    units = [(values - mean) / (std or 1.0) for values, mean, std in zip(inside, means, stds, strict=True)]
    others = [uncorrelated(curve(unit), unit) for curve, unit in zip(curves, units, strict=True)]

    def apply(angle: float) -> Image:
        image = scene.image.copy()
        for c in np.flatnonzero(stds > 0):
            image[c][scene.body] = means[c] + stds[c] * (np.cos(angle) * units[c] + np.sin(angle) * others[c])
        return image

    return apply


def uncorrelated(values: Values, unit: Values) -> Values:
    """Values without mean and without what is proportional to `unit`, at standard deviation 1; 0 if nothing is left.

    >>> unit = np.array([-1.0, -1.0, 1.0, 1.0])
    >>> uncorrelated(np.array([0.0, 2.0, 1.0, 3.0]), unit).tolist()
    [-1.0, 1.0, -1.0, 1.0]
    """
    centred = values - values.mean()
    left = centred - (centred * unit).mean() * unit
    std = float(left.std())
    return left / std if std > _NOTHING * max(float(np.abs(values).max()), 1.0) else np.zeros_like(left)
