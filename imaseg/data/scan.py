"""One NIfTI file as it lies on disk: voxels, affine, and what its header claims."""

from __future__ import annotations

import contextlib
import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from numpy.typing import DTypeLike, NDArray

from imaseg.errors import InputError

_UNREADABLE = (
    ImageFileError, HeaderDataError, EOFError, OSError, zlib.error,
    ValueError, TypeError, OverflowError, MemoryError, IndexError, KeyError,
)  # fmt: skip
_UNITS = {1: ("metre", 1e3), 3: ("micrometre", 1e-3)}
"""Lengths in a header by the low three bits of `xyzt_units`; everything else is or is taken for mm."""


@dataclass
class Scan:
    """A file's content before anything is trusted.

    Attributes:
        path: where it came from.
        data: voxels with header scaling applied, (X, Y, Z) or (X, Y, Z, channels).
        affine: voxel index to world, mm, (4, 4).
        pixdim: voxel sizes as written in the header, before any library mends them.
        qform: the quaternion affine where the header sets both it and the sform, else None.
        flags: what is unusual about the header but does not stop anybody.
    """

    path: Path
    data: NDArray[np.generic]
    affine: NDArray[np.float64]
    pixdim: tuple[float, ...]
    qform: NDArray[np.float64] | None = None
    flags: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Folder and file, e.g. `labelsTr/case_1.nii.gz`: image and label of a case share the rest."""
        return f"{self.path.parent.name}/{self.path.name}"


def read_scan(path: Path, *, dtype: DTypeLike | None = np.float32) -> Scan:
    """Read a NIfTI file whole; scaled values go into `dtype` (None: as they come).

    Raises:
        InputError: if the file is missing, empty, truncated or no NIfTI, or its array is not a volume.
    """
    if not path.is_file():
        msg = f"{path} must exist, got nothing there."
        raise InputError(msg)
    if path.stat().st_size == 0:
        msg = f"{path} must be a NIfTI file, got an empty file."
        raise InputError(msg)
    try:
        with _quiet(), np.errstate(all="ignore"):  # what overflows is infinite, and `checks.finite` says so
            image = nib.load(path)
            if not isinstance(image, nib.Nifti1Image):
                msg = f"{path} must be a NIfTI file, got {type(image).__name__}."
                raise InputError(msg)
            pixdim = _raw_pixdim(path, image)
            # Scaling an integer file by slope and intercept in float32 would round before the cast.
            data = _volume(path, np.asarray(image.dataobj))
            data = data.astype(dtype or data.dtype.newbyteorder("="), copy=False)
            return _with_geometry(Scan(path, data, np.eye(4), pixdim), image)
    except InputError:
        raise
    except _UNREADABLE as error:
        what = "the file ends early" if isinstance(error, EOFError) else str(error) or type(error).__name__
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


def label_values(path: Path) -> set[int]:
    """The whole numbers that occur in a label file.

    Raises:
        InputError: if the file is unreadable or holds other numbers.
    """
    values = np.unique(read_scan(path, dtype=np.float64).data)
    if not np.isfinite(values).all() or (values != np.rint(values)).any():
        msg = f"{path} must hold whole label numbers, got {values[:5].tolist()}."
        raise InputError(msg)
    return {int(value) for value in values}


def _volume(path: Path, data: NDArray[np.generic]) -> NDArray[np.generic]:
    """Drop the axes of length one that writers add, so that the rest is (X, Y, Z[, channels])."""
    if data.dtype.kind not in "iufb":
        msg = f"{path} must hold real numbers, got voxels of type {data.dtype}."
        raise InputError(msg)
    if data.ndim == 2:
        data = data[..., None]
    if data.ndim == 5 and data.shape[3] == 1:  # NIfTI vectors keep their components on the fifth axis
        data = data[:, :, :, 0]
    if data.ndim == 4 and data.shape[3] == 1:
        data = data[..., 0]
    if data.ndim not in (3, 4) or 0 in data.shape:
        msg = f"{path} must be a volume (X, Y, Z) or (X, Y, Z, channels), got shape {data.shape}."
        raise InputError(msg)
    return data


def _raw_pixdim(path: Path, image: nib.Nifti1Image) -> tuple[float, ...]:
    """Voxel sizes straight from the bytes: nibabel turns zero into 1 and drops signs on loading.

    Reading on to the end lets gzip compare its checksum, which nibabel leaves out.
    """
    opener = gzip.open if path.name.endswith(".gz") else Path.open
    with opener(path, "rb") as file:
        header = type(image.header).from_fileobj(file, check=False)
        while path.name.endswith(".gz") and file.read(1 << 20):
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


def on_grid_of(scan: Scan, image: Scan) -> Scan:
    """Store `scan` along the axes of `image`: a permutation and flips, its place in the world untouched.

    A label saved by other software often lists the same voxels in another order; comparing shapes before
    this would reject it, pairing arrays as they come would scramble it.
    """
    for affine in (scan.affine, image.affine):
        if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) == 0:
            return scan
    here, there = nib.io_orientation(scan.affine), nib.io_orientation(image.affine)
    if np.isnan(here).any() or np.isnan(there).any() or np.array_equal(here, there):
        return scan
    change = nib.orientations.ornt_transform(here, there)
    shape = scan.data.shape[:3]
    return replace(
        scan,
        data=nib.apply_orientation(scan.data, change),
        affine=scan.affine @ nib.orientations.inv_ornt_aff(change, shape),
        flags=[*scan.flags, "axes stored in another order than those of the image; reordered"],
    )
