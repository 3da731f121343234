"""Segments the body in an image: its largest bright component, with holes filled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import SimpleITK

_AIR = -500.0
"""HU above air and the foam of the table, below the body."""


def body_mask(channel: NDArray[np.float32], *, hounsfield: bool) -> NDArray[np.bool_]:
    """Voxels of the largest connected piece above -500 HU (CT) or Otsu's threshold (all else), with what it encloses.

    Args:
        channel: (X, Y, Z).
        hounsfield: whether the numbers are HU.
    """
    import SimpleITK

    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(channel.T, np.float32))
    bright = image > _AIR if hounsfield else SimpleITK.OtsuThreshold(image, 0, 1, 200)
    del image  # of a CT near a gigabyte, as are the numbers of the pieces
    largest = _largest_piece(bright)
    body = bright if largest is None else SimpleITK.BinaryFillhole(largest)
    return np.asarray(SimpleITK.GetArrayFromImage(body)).T.astype(bool)


def _largest_piece(bright: SimpleITK.Image) -> SimpleITK.Image | None:
    """The largest connected piece of a mask; None if it is empty."""
    import SimpleITK

    # An opening cuts the thin bridges of cloth and cables between body and table.
    pieces = SimpleITK.ConnectedComponent(SimpleITK.BinaryMorphologicalOpening(bright, [1, 1, 1]))
    numbers = np.asarray(SimpleITK.GetArrayViewFromImage(pieces))
    sizes = np.zeros(int(numbers.max(initial=0)) + 1, np.int64)
    for plane in numbers:
        sizes += np.bincount(plane.ravel(), minlength=len(sizes))
    return pieces == int(sizes[1:].argmax()) + 1 if sizes[1:].any() else None
