"""A NIfTI file before anything is trusted: nibabel reads it, the raw header says what nibabel mended."""

from __future__ import annotations

import contextlib
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from numpy.typing import DTypeLike

from imaseg.data.formats.scan import Scan, as_volume
from imaseg.errors import InputError

_UNREADABLE = (
    ImageFileError, HeaderDataError, EOFError, OSError, zlib.error,
    ValueError, TypeError, OverflowError, MemoryError, IndexError, KeyError,
)  # fmt: skip
_UNITS = {1: ("metre", 1e3), 3: ("micrometre", 1e-3)}
"""Lengths in a header by the low three bits of `xyzt_units`; everything else is or is taken for mm."""


def read_nifti(path: Path, dtype: DTypeLike | None) -> Scan:
    """Read a NIfTI file whole.

    Raises:
        InputError: if it is truncated or no NIfTI, or its array is not a volume.
    """
    try:
        with _quiet(), np.errstate(all="ignore"):  # what overflows is infinite, and `checks.finite` says so
            image = nib.load(path)
            if not isinstance(image, nib.Nifti1Image):
                msg = f"{path} must be a NIfTI file, got {type(image).__name__}."
                raise InputError(msg)
            pixdim = _raw_pixdim(path, image)
            # Scaling an integer file by slope and intercept in float32 would round before the cast.
            data = as_volume(path, np.asarray(image.dataobj))
            data = data.astype(dtype or data.dtype.newbyteorder("="), copy=False)
            return _with_geometry(Scan(path, data, np.eye(4), pixdim), image)
    except InputError:
        raise
    except _UNREADABLE as error:
        what = (
            "the file ends early"
            if isinstance(error, EOFError)
            else " ".join(str(error).split()) or type(error).__name__
        )
        msg = f"{path} must be a complete NIfTI file, got an unreadable one ({what}). Copy it again."
        raise InputError(msg) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep nibabel from logging what it mends in a header; `checks.spacing` reports it as a reason."""
    logger = nib.imageglobals.logger
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def _raw_pixdim(path: Path, image: nib.Nifti1Image) -> tuple[float, ...]:
    """Voxel sizes straight from the bytes: nibabel turns zero into 1 and drops signs on loading.

    Reading on to the end lets gzip compare its checksum, which nibabel leaves out.
    """
    packed = path.name.lower().endswith(".gz")
    opener = gzip.open if packed else Path.open
    with opener(path, "rb") as file:
        header = type(image.header).from_fileobj(file, check=False)
        while packed and file.read(1 << 20):
            pass
    return tuple(float(size) for size in header["pixdim"][1 : min(3, int(header["dim"][0])) + 1])


def _with_geometry(scan: Scan, image: nib.Nifti1Image) -> Scan:
    header = image.header
    scan.affine = np.asarray(image.affine, np.float64)
    if header["sform_code"] > 0 and header["qform_code"] > 0:
        scan.qform = np.asarray(image.get_qform(), np.float64)
    if header["sform_code"] <= 0 and header["qform_code"] <= 0:
        scan.flags.append("the header sets no orientation (qform and sform codes are 0); axes are assumed LAS")
    code = int(header["xyzt_units"]) & 7
    if code in _UNITS:
        unit, mm = _UNITS[code]
        scale = np.diag([mm] * 3 + [1.0])
        scan.affine = scale @ scan.affine
        scan.qform = None if scan.qform is None else scale @ scan.qform
        scan.pixdim = tuple(size * mm for size in scan.pixdim)
        scan.flags.append(f"lengths are in {unit}; converted to mm")
    return scan
