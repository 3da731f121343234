"""MetaImage (`.mha`, `.mhd`) and NRRD (`.nrrd`, `.nhdr`) by SimpleITK, with axes and affine as in NIfTI."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PureWindowsPath

import numpy as np
from numpy.typing import DTypeLike, NDArray

from imaseg.data.formats.scan import Scan, as_volume
from imaseg.errors import InputError

_HEADER = 1 << 16
_VOXELS = re.compile(r"(?im)^[ \t]*(?:ElementDataFile[ \t]*=|data ?file:)[ \t]*(?P<name>[^\r\n]+)(?P<more>(?s:.*))")
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""ITK and DICOM coordinates grow to the left and back (LPS), those of NIfTI to the right and front (RAS)."""


def read_itk(path: Path, dtype: DTypeLike | None) -> Scan:
    """Read a MetaImage or NRRD file whole; components of vectors become channels.

    Raises:
        InputError: if the file is truncated or of another format, its array is not a volume, or its header names files
            outside its own folder.
    """
    import SimpleITK

    _reject_external_data_files(path)
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
    """NIfTI affine (4, 4) of an ITK geometry of two to four dimensions; the fourth is left out."""
    sides = len(spacing)
    inner = min(sides, 3)
    turned = np.asarray(direction, float).reshape(sides, sides)[:inner, :inner]
    affine = np.eye(4)
    affine[:inner, :inner] = turned * np.asarray(spacing[:inner], float)
    affine[:inner, 3] = origin[:inner]
    return LPS_TO_RAS @ affine


def _reject_external_data_files(path: Path) -> None:
    """Raise if the header names voxel files outside its own folder: it could make us read any file of this machine."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        header = file.read(_HEADER).decode("latin-1")
    entry = _VOXELS.search(header)
    if entry is None:
        return
    names = [entry["name"], *(entry["more"].splitlines() if entry["name"].upper().startswith("LIST") else [])]
    for name in names:
        data_file = PureWindowsPath(name.strip())  # understands / as well as \
        if data_file.is_absolute() or data_file.root or ".." in data_file.parts:
            msg = (
                f"{path} must name voxels in its own folder, got {name.strip()!r}. Move them there and fix the header."
            )
            raise InputError(msg)


def _last_line(error: RuntimeError) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else type(error).__name__
