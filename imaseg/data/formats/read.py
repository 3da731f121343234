"""A file of any supported format as a `Scan`, the format told by its suffix."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from imaseg.data.files import ITK_SUFFIXES, NIFTI_SUFFIXES, PICTURE_SUFFIXES, TIFF_SUFFIXES
from imaseg.data.formats.checks import class_numbers, finite, one_per_voxel, whole_numbers
from imaseg.data.formats.dicom_series import read_series
from imaseg.data.formats.itk import read_itk
from imaseg.data.formats.nifti import read_nifti
from imaseg.data.formats.picture import read_picture
from imaseg.data.formats.scan import Scan, whole_if_close
from imaseg.data.formats.tiff import read_tiff
from imaseg.errors import InputError

_NO_IMAGES = (
    (b"version https://git-lfs", "a pointer of Git LFS. Fetch it by `git lfs pull`"),
    (b"<!doctype", "a web page. Download it again"),
    (b"<html", "a web page. Download it again"),
)
"""First bytes, in small letters, of what is left where a download went wrong."""


def read_scan(path: Path, *, dtype: DTypeLike | None = np.float32, label: bool = False, alpha: bool = False) -> Scan:
    """Read a file whole.

    Args:
        path: file to read. Without a known suffix it is taken for one slice of a DICOM series, all of which is read.
        dtype: that the voxels are converted to after the header's scaling; None keeps the type they come in.
        label: read the palette of a picture as class numbers, rather than colours.
        alpha: keep the transparency of a picture as a channel.

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
    _reject_failed_download(path)
    if name.endswith(NIFTI_SUFFIXES):
        return read_nifti(path, dtype)
    if name.endswith(ITK_SUFFIXES):
        return read_itk(path, dtype)
    if name.endswith(PICTURE_SUFFIXES):
        read = read_tiff if name.endswith(TIFF_SUFFIXES) else read_picture
        return read(path, dtype, label=label, alpha=alpha)
    return read_series(path)


def _reject_failed_download(path: Path) -> None:
    with path.open("rb") as file:
        start = file.read(64).lstrip().lower()
    for known, what in _NO_IMAGES:
        if start.startswith(known):
            msg = f"{path} must be an image file, got {what}."
            raise InputError(msg)


def label_values(path: Path) -> set[int]:
    """The whole numbers that occur in a label file.

    Raises:
        InputError: if the file is unreadable, holds other numbers, or its numbers are grey values.
    """
    scan = read_scan(path, dtype=None, label=True)
    scan = replace(scan, data=whole_if_close(scan.data))
    for reason in (*finite(scan), *one_per_voxel(scan), *whole_numbers(scan), *class_numbers(scan)):
        raise InputError(reason)
    return {int(value) for value in np.unique(scan.data)}
