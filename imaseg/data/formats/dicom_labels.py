"""DICOM SEG and RTSTRUCT files joined into a label on the grid of their image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from imaseg.data.formats.dicom_files import broken, read_header
from imaseg.data.formats.dicom_series import from_highdicom
from imaseg.data.formats.itk import LPS_TO_RAS
from imaseg.data.formats.scan import Scan, on_grid_of
from imaseg.errors import InputError

Mask = tuple[str, NDArray[np.bool_]]


def read_structures(paths: tuple[Path, ...], image: Scan, values: Mapping[str, int]) -> Scan:
    """Join the structures of one or several files on the grid of `image`.

    Args:
        paths: SEG and RTSTRUCT files.
        image: the series they were drawn on.
        values: label value by structure name; other structures are left out.

    Raises:
        InputError: if a file is unreadable or lies on another grid, or two files hold a structure of one name.
    """
    label = np.zeros(image.data.shape[:3], np.uint8 if max(values.values(), default=0) < 256 else np.uint16)
    flags, seen = [], set()
    for path in paths:
        if not path.is_file():
            msg = f"{path} must exist, got nothing there."
            raise InputError(msg)
        for name, mask in _masks(path, image, values):
            if name in seen and len(paths) > 1:
                msg = f"{path} must not hold {name!r} again, got it in another segmentation of the series. Keep one."
                raise InputError(msg)
            seen.add(name)
            over = int((label[mask] > 0).sum())
            if over:
                flags.append(f"structure {name!r} of {path.name} overlaps others in {over} voxels, which it takes")
            label[mask] = values[name]
    if len(paths) > 1:
        flags.insert(0, f"structures of {len(paths)} files joined")
    return Scan(paths[0], label, image.affine.copy(), image.pixdim, flags=flags)


def _masks(path: Path, image: Scan, values: Mapping[str, int]) -> Iterator[Mask]:
    header = read_header(path)
    reader = _segments if header.Modality == "SEG" else _contours
    try:
        yield from reader(path, image, values)
    except InputError:
        raise
    except broken() as error:
        what = " ".join(str(error).split())
        msg = f"{path} must be a complete {header.Modality}, got an unreadable one ({what}). Export it again."
        raise InputError(msg) from error


def _segments(path: Path, image: Scan, values: Mapping[str, int]) -> Iterator[Mask]:
    """Name and mask of each wanted segment of a SEG; segments may overlap."""
    import highdicom

    seg = highdicom.seg.segread(path)
    for number in seg.segment_numbers:
        name = str(seg.get_segment_description(number).segment_label)
        if name in values:
            volume = seg.get_volume(segment_numbers=[number])
            data, affine = from_highdicom(volume.array[..., 0], volume.affine)
            # Fractional segments hold shares: a voxel belongs to what fills half of it.
            yield name, _placed(Scan(path, data >= 0.5, affine, image.pixdim), image)


def _placed(part: Scan, image: Scan) -> NDArray[np.bool_]:
    """Mask on the grid of `image` with the voxels of `part`, which may cover only some slices, at their place."""
    turned = on_grid_of(part, image)
    to_image = np.linalg.inv(image.affine) @ turned.affine
    start = np.rint(to_image[:3, 3]).astype(int)
    shape = np.asarray(turned.data.shape)
    # One slice has no spacing of its own: its third side says nothing.
    sides = [axis for axis in range(3) if shape[axis] > 1]
    drift = np.abs((to_image[:3, :3] - np.eye(3))[:, sides]) * (shape[sides] - 1) if sides else np.zeros((3, 1))
    if drift.max() > 0.5 or np.abs(to_image[:3, 3] - start).max() > 0.25:
        msg = f"{part.path} must lie on the voxels of its image, got another grid. Resample it to the image."
        raise InputError(msg)
    whole = np.zeros(image.data.shape[:3], bool)
    low, high = np.maximum(start, 0), np.minimum(start + shape, whole.shape)
    if (low < high).all():
        inside = tuple(slice(a - s, b - s) for a, b, s in zip(low, high, start, strict=True))
        whole[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = turned.data[inside]
    return whole


def _contours(path: Path, image: Scan, values: Mapping[str, int]) -> Iterator[Mask]:
    """Name and mask of each wanted structure of an RTSTRUCT: closed planar contours, filled; an inner one is a hole."""
    import pydicom
    from skimage.draw import polygon

    header = pydicom.dcmread(path)
    names = {item.ROINumber: str(item.get("ROIName", item.ROINumber)) for item in header.StructureSetROISequence}
    to_index = np.linalg.inv(image.affine) @ LPS_TO_RAS
    for roi in header.get("ROIContourSequence", []):
        name = names.get(roi.ReferencedROINumber, "")
        if name not in values:
            continue
        mask = np.zeros(image.data.shape[:3], bool)
        for contour in roi.get("ContourSequence", []):
            if contour.ContourGeometricType not in ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR"):
                continue
            points = np.asarray(contour.ContourData, float).reshape(-1, 3)
            index = points @ to_index[:3, :3].T + to_index[:3, 3]
            if np.ptp(index[:, 2]) > 1:
                msg = f"{path} must hold contours in the slices of its image, got one across slices for {name!r}."
                raise InputError(msg)
            slice_number = round(float(index[:, 2].mean()))
            if 0 <= slice_number < image.data.shape[2]:
                inside = np.zeros(mask.shape[:2], bool)
                inside[polygon(index[:, 0], index[:, 1], inside.shape)] = True
                mask[:, :, slice_number] ^= inside
        yield name, mask
