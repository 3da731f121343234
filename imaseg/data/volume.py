"""Volumes in memory, and NIfTI in and out of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import DTypeLike, NDArray

from imaseg.data.cases import Case
from imaseg.data.files import SUFFIXES, is_picture, whole_file
from imaseg.data.formats.checks import check_image, check_label
from imaseg.data.formats.scan import Scan, label_values, on_grid_of, read_scan, whole_if_close
from imaseg.errors import InputError

__all__ = ["Step", "Volume", "label_values", "read_images", "read_label", "read_volume", "to_volume", "write_nifti"]


Step = dict[str, Any]
"""Record of one step of a preparation: `name` and its parameters, fit for JSON."""


@dataclass
class Volume:
    """A case in memory.

    Attributes:
        id: case id.
        image: float32 (C, X, Y, Z).
        label: whole numbers (X, Y, Z), int64 unless read compactly, or None.
        affine: voxel index to world in mm, (4, 4).
    """

    id: str
    image: NDArray[np.float32]
    label: NDArray[np.int64] | None
    affine: NDArray[np.float64]

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size in mm along X, Y, Z."""
        x, y, z = (float(size) for size in np.linalg.norm(self.affine[:3, :3], axis=0))
        return x, y, z

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels along X, Y, Z."""
        return self.image.shape[1:]


def read_volume(case: Case, *, threshold: float | None = None, compact: bool = False) -> Volume:
    """Read a case; a label stored along other axes is brought on to the grid of its image.

    Args:
        case: of any format.
        threshold: label values from here on are 1, all others 0; None keeps them.
        compact: keep the label in the smallest whole-number type that holds it.

    Raises:
        InputError: if a file is missing, unreadable or not finite, or its files disagree.
    """
    images = read_images(case)
    label = read_label(case, images[0], threshold=threshold)
    reasons, blamed = check_image(images), case.image[0]
    if label is not None and not reasons:
        reasons, blamed = check_label(label, images[0]), label.path
    if reasons:
        msg = f"{case.id}: {reasons[0]} Mend or leave out {blamed}."
        raise InputError(msg)
    return to_volume(case.id, images, label, compact=compact)


def read_images(case: Case) -> list[Scan]:
    """Image files of a case; a grey picture gets the channels of a cohort of colour pictures.

    Raises:
        InputError: if a file is missing or unreadable.
    """
    images = [read_scan(path) for path in case.image]
    if len(images) == 1 and case.channels == 3 and is_picture(case.image[0]) and images[0].data.ndim == 3:
        images[0].data = np.repeat(images[0].data[..., None], 3, axis=3)
    return images


def read_label(case: Case, image: Scan, *, threshold: float | None = None) -> Scan | None:
    """Label of a case along the axes of its image, None if the case has none.

    Raises:
        InputError: if a file is missing or unreadable.
    """
    if case.label is None:
        return None
    if case.segments and case.label.name.lower().endswith(SUFFIXES):
        from imaseg.data.layouts.mask_folders import read_masks

        return read_masks((case.label, *case.more_labels), image, case.segments)
    if case.segments:
        from imaseg.data.formats.dicom_labels import read_structures

        return read_structures((case.label, *case.more_labels), image, case.segments)
    label = read_scan(case.label, dtype=None)
    label = replace(label, data=whole_if_close(label.data))
    if threshold is not None:
        grey = np.asarray(label.data, np.float32)
        grey = grey.mean(axis=3) if grey.ndim == 4 else grey
        label = replace(label, data=(grey >= threshold).astype(np.uint8))
    return on_grid_of(label, image)


def to_volume(name: str, images: list[Scan], label: Scan | None, *, compact: bool = False) -> Volume:
    """Join checked scans: channels first, label whole numbers, int64 unless `compact`."""
    channels = [np.moveaxis(scan.data, 3, 0) if scan.data.ndim == 4 else scan.data[None] for scan in images]
    joined = channels[0] if len(channels) == 1 else np.concatenate(channels)
    image = joined.astype(np.float32, copy=False)
    if label is None:
        return Volume(name, image, None, images[0].affine)
    dtype = np.min_scalar_type(int(label.data.max())) if compact else np.int64
    return Volume(name, image, label.data.astype(dtype, copy=False), images[0].affine)


def write_nifti(
    path: Path, array: NDArray[np.generic], affine: NDArray[np.float64], *, dtype: DTypeLike = np.float32
) -> None:
    """Write (X, Y, Z) or (C, X, Y, Z) as NIfTI in mm, whole or not at all.

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
