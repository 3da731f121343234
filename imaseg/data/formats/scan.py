"""`Scan`, the content of one image or label file in any format, and what is done to it before checks."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from imaseg.data.files import is_picture
from imaseg.errors import InputError

_ROUNDING_TOLERANCE = 1e-3
"""Values this close to a whole number are that number, which header scaling missed by rounding."""


@dataclass
class Scan:
    """Voxels and geometry of one file, as read and not yet checked.

    Attributes:
        path: file it was read from.
        data: voxels with header scaling applied, (X, Y, Z) or (X, Y, Z, channels).
        affine: voxel index to world, mm, (4, 4).
        pixdim: voxel sizes in mm as the header states them, zero and negative ones included.
        qform: the quaternion affine where the header sets both it and the sform, else None.
        flags: what is unusual about the header, though the file can be used.
        turned: whether a picture was turned as its EXIF orientation says.
        see_through: whether a picture has a transparency that varies.
    """

    path: Path
    data: NDArray[np.generic]
    affine: NDArray[np.float64]
    pixdim: tuple[float, ...]
    qform: NDArray[np.float64] | None = None
    flags: list[str] = field(default_factory=list)
    turned: bool = False
    see_through: bool = False

    @property
    def name(self) -> str:
        """Folder and file name, e.g. `labelsTr/case_1.nii.gz`, which tells image and label of a case apart."""
        return f"{self.path.parent.name}/{self.path.name}"

    @property
    def is_picture(self) -> bool:
        """Whether it was read from a picture such as PNG or TIFF."""
        return is_picture(self.path)


def whole_if_close(data: NDArray[np.generic]) -> NDArray[np.generic]:
    """Round an array if all its values are within 0.001 of whole numbers, e.g. labels stored as 1.99999."""
    if data.dtype.kind != "f" or not all(np.abs(part - np.rint(part)).max() < _ROUNDING_TOLERANCE for part in data):
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
    """Permute and flip the axes of `scan` until they run like those of `image`; its place in the world is kept.

    Other software often saves a label along other axes than its image. Call this before shapes or voxels are compared.
    """
    for affine in (scan.affine, image.affine):
        if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) == 0:
            return scan
    # Directly from grid to grid: rounding each to the world's axes first is ambiguous for grids turned by 45 degrees.
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
