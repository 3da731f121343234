"""Recognises Hounsfield units (HU) by the grey values, where no file states the modality."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_LOWEST_HU = -3072.0
"""Lowest value that CT scanners use to fill voxels outside of their field of view."""


def looks_like_hounsfield(channel: NDArray[np.float32]) -> bool:
    """Whether grey values look like HU: air near -1000 in a hundredth of the voxels or more, nothing far below it."""
    low, high = float(channel.min()), float(channel.max())
    if not (_LOWEST_HU <= low <= -900 and high > 0):
        return False
    return bool(np.count_nonzero((channel > -1100) & (channel < -850)) >= 0.01 * channel.size)
