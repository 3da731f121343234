"""NIfTI and Analyze files in, NIfTI out, by nibabel; voxel sizes that it would repair are taken from the raw header."""

from __future__ import annotations

import contextlib
import math
import zlib
from pathlib import Path
from typing import Literal

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from numpy.typing import DTypeLike, NDArray

from imaseg.data.files import files_behind, header_of, whole_file
from imaseg.data.formats.claims import DEFLATE, require_room, require_unpacked, unpacked_start
from imaseg.data.formats.quiet import quiet
from imaseg.data.formats.scan import Scan, as_volume
from imaseg.errors import InputError

_UNREADABLE = (
    ImageFileError, HeaderDataError, EOFError, OSError, zlib.error,
    ValueError, TypeError, OverflowError, MemoryError, IndexError, KeyError,
)  # fmt: skip
_GZIP = b"\x1f\x8b"
_MAT = 64 << 10
"""Bytes of the file of SPM that may lie beside an Analyze file."""
_ORDERS: tuple[Literal["little", "big"], ...] = ("little", "big")
_EXTENSIONS = 64 << 20
"""Bytes that a header with its extensions may have."""
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
        pixdim = _checked(path)
        # Repairs of headers are reported by `checks.spacing`, and numbers that overflow by `checks.finite`.
        with quiet(nib.imageglobals.logger), np.errstate(all="ignore"):
            image = nib.load(path)
            if not isinstance(image, nib.AnalyzeImage):  # NIfTI is a kind of it
                msg = f"{path} must be a NIfTI file, got {type(image).__name__}."
                raise InputError(msg)
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
    with contextlib.suppress(*_UNREADABLE):
        return unpacked_start(path, 2) == _GZIP
    return False


def _checked(path: Path) -> tuple[float, ...]:
    """Check what the header claims against the file, and return the voxel sizes as stored.

    nibabel takes memory for any claim, turns sizes of zero into 1 and drops their signs.
    """
    header = _raw_header(header_of(path))
    pixdim = tuple(float(side) for side in header["pixdim"][1 : min(3, int(header["dim"][0])) + 1])
    voxels, packed = _voxel_file(path), path.name.lower().endswith(".gz")
    sides = [max(int(side), 0) for side in header["dim"][1 : int(header["dim"][0]) + 1]]
    mats = [part for part in files_behind(path) if part.suffix == ".mat"]
    if any(mat.stat().st_size > _MAT for mat in mats):
        msg = f"{mats[0]} must be a small file with an affine, got one above {_MAT >> 10} KB. Remove it."
        raise InputError(msg)
    claimed, offset = math.prod(sides) * header.get_data_dtype().itemsize, float(header["vox_offset"])
    if not 0 <= offset <= _EXTENSIONS:
        msg = f"{path} must have its voxels behind the header, got a vox_offset of {offset:g}. Copy it again."
        raise InputError(msg)
    if voxels is None:  # which nibabel says
        return pixdim
    require_room(path, claimed + int(offset), voxels.stat().st_size, ratio=DEFLATE if packed else 1)
    if packed:
        require_unpacked(path, claimed + int(offset), voxels)
    return pixdim


def _raw_header(path: Path) -> nib.Nifti1Header:
    """The header of NIfTI-1, NIfTI-2 or Analyze; the three agree on the fields that are looked at."""
    large = nib.Nifti2Header.sizeof_hdr
    if path.name.lower().endswith(".gz"):
        start = unpacked_start(path, large)
    else:
        with path.open("rb") as file:
            start = file.read(large)
    kind = nib.Nifti2Header if large in (int.from_bytes(start[:4], order) for order in _ORDERS) else nib.Nifti1Header
    if len(start) < kind.sizeof_hdr:
        raise EOFError
    return kind(start[: kind.sizeof_hdr], check=False)


def _voxel_file(path: Path) -> Path | None:
    """The file itself, or of a pair its `.img`; None if that is not there."""
    if path.name.lower().endswith((".nii", ".nii.gz")):
        return path
    return next((part for part in files_behind(path) if part.name.lower().endswith((".img", ".img.gz"))), None)


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
