"""One file as it lies on disk, of whatever format: voxels, affine, and what its header claims."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import DTypeLike, NDArray

from imaseg.data.files import ITK_SUFFIXES, NIFTI_SUFFIXES, PICTURE_SUFFIXES
from imaseg.errors import InputError

_HAIR = 1e-3


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
    """Read a file whole, the format told by its suffix; scaled values go into `dtype` (None: as they come).

    A file without a known suffix is taken for DICOM and stands for its whole series.

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
    if name.endswith(NIFTI_SUFFIXES):
        from imaseg.data.formats.nifti import read_nifti

        return read_nifti(path, dtype)
    if name.endswith(ITK_SUFFIXES):
        from imaseg.data.formats.itk import read_itk

        return read_itk(path, dtype)
    if name.endswith(PICTURE_SUFFIXES):
        from imaseg.data.formats.picture import read_picture

        return read_picture(path, dtype)
    from imaseg.data.formats.dicom_series import read_series

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


def whole_if_close(data: NDArray[np.generic]) -> NDArray[np.generic]:
    """Labels that a header's scaling missed by a hair, such as 1.99999, as the whole numbers they stand for."""
    if data.dtype.kind != "f" or not all(np.abs(part - np.rint(part)).max() < _HAIR for part in data):
        return data
    return np.rint(data)


def as_volume(path: Path, data: NDArray[np.generic]) -> NDArray[np.generic]:
    """Drop the axes of length one that writers add, so that the rest is (X, Y, Z[, channels]).

    Raises:
        InputError: if the voxels are no real numbers or the array is no volume.
    """
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


def on_grid_of(scan: Scan, image: Scan) -> Scan:
    """Store `scan` along the axes of `image`: a permutation and flips, its place in the world untouched.

    A label saved by other software often lists the same voxels in another order; comparing shapes before
    this would reject it, pairing arrays as they come would scramble it.
    """
    for affine in (scan.affine, image.affine):
        if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) == 0:
            return scan
    # From one grid to the other, not by way of the world: halfway between two axes either has as good a claim.
    change = nib.io_orientation(np.linalg.inv(image.affine) @ scan.affine)
    if np.isnan(change).any() or np.array_equal(change, [[0, 1], [1, 1], [2, 1]]):
        return scan
    shape = scan.data.shape[:3]
    return replace(
        scan,
        data=nib.apply_orientation(scan.data, change),
        affine=scan.affine @ nib.orientations.inv_ornt_aff(change, shape),
        flags=[*scan.flags, "axes stored in another order than those of the image; reordered"],
    )
