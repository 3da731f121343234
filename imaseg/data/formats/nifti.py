"""NIfTI and Analyze files in, NIfTI out, by nibabel; voxel sizes that it would repair are taken from the raw header."""

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
from numpy.typing import DTypeLike, NDArray

from imaseg.data.files import files_behind, header_of, whole_file
from imaseg.data.formats.scan import Scan, as_volume
from imaseg.errors import InputError

_UNREADABLE = (
    ImageFileError, HeaderDataError, EOFError, OSError, zlib.error,
    ValueError, TypeError, OverflowError, MemoryError, IndexError, KeyError,
)  # fmt: skip
_GZIP = b"\x1f\x8b"
_UNITS = {1: ("metre", 1e3), 3: ("micrometre", 1e-3)}
"""Lengths in a header by the low three bits of `xyzt_units`; everything else is or is taken for mm."""


def read_nifti(path: Path, dtype: DTypeLike | None) -> Scan:
    """Read a NIfTI file, or the two files `.hdr` and `.img` of NIfTI or Analyze, whole.

    Raises:
        InputError: if it is truncated or no NIfTI, is compressed or not against its name, lacks its other file, or if
            its array is not a volume.
    """
    for part in files_behind(path):
        _reject_other_compression(part)
    if not header_of(path).is_file():
        msg = f"{path} must have its header {header_of(path).name} beside it, got none."
        raise InputError(msg)
    try:
        with _quiet(), np.errstate(all="ignore"):  # what overflows is infinite, and `checks.finite` says so
            image = nib.load(path)
            if not isinstance(image, nib.AnalyzeImage):  # NIfTI is a kind of it
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
    """Silence nibabel's log of header repairs, which `checks.spacing` reports as faults."""
    logger = nib.imageglobals.logger
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def _reject_other_compression(path: Path) -> None:
    """Raise if a file is compressed though its name does not say so, or not though it does."""
    packed = path.name.lower().endswith(".gz")
    with path.open("rb") as file:
        is_gzip = file.read(2) == _GZIP
    if is_gzip == packed:
        if packed and _twice(path):
            msg = f"{path} must be compressed once, got a gzip file inside of a gzip file. Unpack it once."
            raise InputError(msg)
        return
    got = "is gzip. Add .gz to its name" if is_gzip else "is not gzip. Take .gz off its name, or copy it again"
    msg = f"{path} must be {'compressed' if packed else 'uncompressed'}, as its name says, got a file that {got}."
    raise InputError(msg)


def _twice(path: Path) -> bool:
    with contextlib.suppress(*_UNREADABLE), gzip.open(path, "rb") as file:
        return file.read(2) == _GZIP
    return False


def _raw_pixdim(path: Path, image: nib.AnalyzeImage) -> tuple[float, ...]:
    """Voxel sizes as stored in the file: nibabel turns zeros into 1 and drops signs.

    A packed file is read to its end, since gzip then verifies the checksum, which nibabel does not.
    """
    header_file = header_of(path)
    packed = path.name.lower().endswith(".gz")
    opener = gzip.open if packed else Path.open
    with opener(header_file, "rb") as file:
        header = type(image.header).from_fileobj(file, check=False)
    if packed:
        with gzip.open(path, "rb") as file:
            while file.read(1 << 20):
                pass
    return tuple(float(size) for size in header["pixdim"][1 : min(3, int(header["dim"][0])) + 1])


def _with_geometry(scan: Scan, image: nib.AnalyzeImage) -> Scan:
    header = image.header
    scan.affine = np.asarray(image.affine, np.float64)
    if not isinstance(image, nib.Nifti1Pair):
        scan.flags.append("Analyze files set no orientation; axes are assumed LAS")
        return scan
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


def write_nifti(
    path: Path, array: NDArray[np.generic], affine: NDArray[np.float64], *, dtype: DTypeLike = np.float32
) -> None:
    """Write (X, Y, Z) or (C, X, Y, Z) as NIfTI in mm, atomically.

    Args:
        path: ends in `.nii` or `.nii.gz`.
        array: voxels; channels go last in the file, a single one is dropped.
        affine: voxel index to world in mm, (4, 4).
        dtype: type on disk; whole-number types round.

    Raises:
        InputError: if `array` does not fit into `dtype`.
    """
    if array.ndim == 4:
        array = array[0] if array.shape[0] == 1 else np.moveaxis(array, 0, 3)
    if np.issubdtype(dtype, np.integer):
        array = np.rint(array)
        limits = np.iinfo(np.dtype(dtype))
        if array.size and not (limits.min <= array.min() and array.max() <= limits.max):
            msg = f"{path} must hold values that fit {np.dtype(dtype)}, got {array.min()} to {array.max()}."
            raise InputError(msg)
    image = nib.Nifti1Image(array.astype(dtype, copy=False), affine)
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    if not np.allclose(image.get_qform(), affine, atol=1e-3):  # a sheared affine has no quaternion
        image.set_qform(None, code=0)
    image.header.set_xyzt_units("mm")
    with whole_file(path) as temporary:
        nib.save(image, temporary)
