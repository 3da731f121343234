"""The body in an image: its largest bright piece, holes filled."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_AIR = -500.0
"""HU between air and the body, the table's foam below it."""


def body_mask(channel: NDArray[np.float32], *, hounsfield: bool) -> NDArray[np.bool_]:
    """Voxels of the largest connected piece above -500 HU (CT) or Otsu's threshold (all else), with what it encloses.

    Args:
        channel: (X, Y, Z).
        hounsfield: whether the numbers are HU.
    """
    import SimpleITK

    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(channel.T, np.float32))
    bright = image > _AIR if hounsfield else SimpleITK.OtsuThreshold(image, 0, 1, 200)
    # An opening cuts the thin bridges of cloth and cables between body and table.
    pieces = SimpleITK.ConnectedComponent(SimpleITK.BinaryMorphologicalOpening(bright, [1, 1, 1]))
    sizes = np.bincount(np.asarray(SimpleITK.GetArrayViewFromImage(pieces)).ravel())
    if len(sizes) < 2:
        return np.asarray(SimpleITK.GetArrayFromImage(bright)).T.astype(bool)
    largest = pieces == int(sizes[1:].argmax()) + 1
    return np.asarray(SimpleITK.GetArrayFromImage(SimpleITK.BinaryFillhole(largest))).T.astype(bool)
