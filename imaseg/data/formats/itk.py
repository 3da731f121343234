"""MetaImage (`.mha`, `.mhd`) and NRRD (`.nrrd`, `.nhdr`) by SimpleITK, with axes and affine as in NIfTI."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike, NDArray

from imaseg.data.formats.itk_apart import ItkError, read_apart
from imaseg.data.formats.itk_header import check_header
from imaseg.data.formats.scan import Scan, as_volume
from imaseg.errors import InputError

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""ITK and DICOM coordinates grow to the left and back (LPS), those of NIfTI to the right and front (RAS)."""


def read_itk(path: Path, dtype: DTypeLike | None) -> Scan:
    """Read a MetaImage or NRRD file whole; components of vectors become channels.

    Raises:
        InputError: if the file is truncated or of another format, its array is not a volume, its header names files
            outside its own folder, or ITK crashes on it.
    """
    check_header(path)
    try:
        image = read_apart("MetaImageIO" if path.name.lower().endswith((".mha", ".mhd")) else "NrrdImageIO", [path])
    except ItkError as error:
        msg = f"{path} must be a complete image file, got an unreadable one ({error}). Copy it again."
        raise InputError(msg) from error
    data = np.moveaxis(image.voxels, -1, 0) if image.components > 1 else image.voxels
    data = as_volume(path, data.T)
    data = data.astype(dtype or data.dtype, copy=False)
    affine = itk_affine(image.origin, image.spacing, image.direction)
    return Scan(path, data, affine, tuple(float(size) for size in image.spacing[:3]))


def itk_affine(origin: Sequence[float], spacing: Sequence[float], direction: Sequence[float]) -> NDArray[np.float64]:
    """NIfTI affine (4, 4) of an ITK geometry of two to four dimensions; the fourth is left out."""
    sides = len(spacing)
    inner = min(sides, 3)
    turned = np.asarray(direction, float).reshape(sides, sides)[:inner, :inner]
    affine = np.eye(4)
    affine[:inner, :inner] = turned * np.asarray(spacing[:inner], float)
    affine[:inner, 3] = origin[:inner]
    return LPS_TO_RAS @ affine
