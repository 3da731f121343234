"""MetaImage (`.mha`, `.mhd`) and NRRD (`.nrrd`, `.nhdr`) by SimpleITK, turned into the axes and world of NIfTI."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike, NDArray

from imaseg.data.scan import Scan, as_volume
from imaseg.errors import InputError

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""ITK's and DICOM's world runs to the left and back, that of NIfTI to the right and front."""


def read_itk(path: Path, dtype: DTypeLike | None) -> Scan:
    """Read a MetaImage or NRRD file whole; components of vectors become channels.

    Raises:
        InputError: if the file is truncated or of another format, or its array is not a volume.
    """
    import SimpleITK

    try:
        image = SimpleITK.ReadImage(str(path))
    except RuntimeError as error:
        msg = f"{path} must be a complete image file, got an unreadable one ({_last_line(error)}). Copy it again."
        raise InputError(msg) from error
    data = np.asarray(SimpleITK.GetArrayFromImage(image))
    components = image.GetNumberOfComponentsPerPixel()
    if components > 1:
        data = np.moveaxis(data, -1, 0)
    data = as_volume(path, data.T)
    data = data.astype(dtype or data.dtype, copy=False)
    affine = itk_affine(image.GetOrigin(), image.GetSpacing(), image.GetDirection())
    return Scan(path, data, affine, tuple(float(size) for size in image.GetSpacing()[:3]))


def itk_affine(origin: Sequence[float], spacing: Sequence[float], direction: Sequence[float]) -> NDArray[np.float64]:
    """Affine of NIfTI for ITK's geometry of two to four dimensions, of which those in space count."""
    sides = len(spacing)
    inner = min(sides, 3)
    turned = np.asarray(direction, float).reshape(sides, sides)[:inner, :inner]
    affine = np.eye(4)
    affine[:inner, :inner] = turned * np.asarray(spacing[:inner], float)
    affine[:inner, 3] = origin[:inner]
    return LPS_TO_RAS @ affine


def _last_line(error: RuntimeError) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else type(error).__name__
