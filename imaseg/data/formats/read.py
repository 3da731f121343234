"""A file of any supported format as a `Scan`, the format told by its suffix."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from imaseg.data.files import ITK_SUFFIXES, NIFTI_SUFFIXES, PICTURE_SUFFIXES
from imaseg.data.formats.dicom_series import read_series
from imaseg.data.formats.itk import read_itk
from imaseg.data.formats.nifti import read_nifti
from imaseg.data.formats.picture import read_picture
from imaseg.data.formats.scan import Scan, whole_if_close
from imaseg.errors import InputError

_READERS = ((NIFTI_SUFFIXES, read_nifti), (ITK_SUFFIXES, read_itk), (PICTURE_SUFFIXES, read_picture))


def read_scan(path: Path, *, dtype: DTypeLike | None = np.float32) -> Scan:
    """Read a file whole.

    Args:
        path: file to read. Without a known suffix it is taken for one slice of a DICOM series, all of which is read.
        dtype: that the voxels are converted to after the header's scaling; None keeps the type they come in.

    Raises:
        InputError: if the file is missing, empty, truncated or of another format, or its array is not a volume.
    """
    if not path.is_file():
        msg = f"{path} must exist, got nothing there."
        raise InputError(msg)
    name = path.name.lower()
    if path.stat().st_size == 0:
        kind = "a NIfTI file" if name.endswith(NIFTI_SUFFIXES) else "an image file"
        msg = f"{path} must be {kind}, got an empty file."
        raise InputError(msg)
    for suffixes, read in _READERS:
        if name.endswith(suffixes):
            return read(path, dtype)
    return read_series(path)


def label_values(path: Path) -> set[int]:
    """The whole numbers that occur in a label file.

    Raises:
        InputError: if the file is unreadable or holds other numbers.
    """
    values = np.unique(whole_if_close(read_scan(path, dtype=np.float64).data))
    if not np.isfinite(values).all() or (values != np.rint(values)).any():
        msg = f"{path} must hold whole label numbers, got {values[:5].tolist()}."
        raise InputError(msg)
    return {int(value) for value in values}
