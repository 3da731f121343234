"""A DICOM series as one volume: slices sorted by position, grey values rescaled as the header says.

The geometry comes from ImagePositionPatient, ImageOrientationPatient and PixelSpacing alone; slice numbers, slice
thickness and file names are not trusted. GDCM (in SimpleITK) decodes the pixels, compressed ones too, and applies
rescale slope and intercept: HU for CT.
"""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from imaseg.data.formats.dicom_files import Header, broken, headers_of, read_header
from imaseg.data.formats.itk import LPS_TO_RAS
from imaseg.data.formats.scan import Scan
from imaseg.errors import InputError

_UNEVEN = 0.1
"""Largest deviation of the gap between two slices from the mean gap, as a share of it."""


def read_series(path: Path) -> Scan:
    """Read all slices of the series that a DICOM file belongs to; they must lie in its folder.

    Raises:
        InputError: if a slice is unreadable or missing, the gantry was tilted, or the slices are not evenly spaced.
    """
    header = read_header(path)
    uid = header.get("SeriesInstanceUID")
    if str(header.get("NumberOfFrames") or 1) != "1":
        return _multiframe(path)
    members = [(p, h) for p, h in headers_of(path.parent) if h.get("SeriesInstanceUID") == uid and "Rows" in h]
    if not members:
        _refuse(path, "images", "other objects")
    try:
        return _stack(path, *_without_copies(members))
    except InputError:
        raise
    except broken() as error:
        _refuse(path, "complete headers", f"a damaged one ({' '.join(str(error).split())})")


def _without_copies(members: list[tuple[Path, Header]]) -> tuple[list[tuple[Path, Header]], list[str]]:
    seen: dict[str, tuple[Path, Header]] = {}
    for path, header in members:
        seen.setdefault(str(header.SOPInstanceUID), (path, header))
    extra = len(members) - len(seen)
    return list(seen.values()), [f"{extra} slices lie there twice; one of each used"] if extra else []


def _stack(path: Path, members: list[tuple[Path, Header]], flags: list[str]) -> Scan:
    first = members[0][1]
    for _, header in members:
        for key in ("Rows", "Columns", "PixelSpacing", "ImageOrientationPatient"):
            here, there = header.get(key), first.get(key)
            if here is None:
                _refuse(path, f"slices with {key}", "none")
            if not np.allclose(np.atleast_1d(here), np.atleast_1d(there), atol=1e-3):
                _refuse(path, f"slices of one {key}", f"{list(np.atleast_1d(there))} and {list(np.atleast_1d(here))}")
        if header.get("ImagePositionPatient") is None:
            _refuse(path, "slices with ImagePositionPatient", "none")
    if int(first.get("SamplesPerPixel", 1)) != 1:
        _refuse(path, "grey images", f"{first.SamplesPerPixel} colours")
    if first.get("PhotometricInterpretation") == "MONOCHROME1":
        flags = [*flags, "MONOCHROME1: small values are meant to look bright; kept as stored"]
    rows, columns = (np.asarray(first.ImageOrientationPatient, float)[part] for part in (slice(3, 6), slice(0, 3)))
    normal = np.cross(columns, rows)
    positions = np.array([np.asarray(header.ImagePositionPatient, float) for _, header in members])
    order = np.argsort(positions @ normal)
    positions = positions[order]
    row_step, column_step = (float(size) for size in first.PixelSpacing)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = columns * column_step, rows * row_step
    affine[:3, 2] = _slice_step(path, positions, normal, first)
    affine[:3, 3] = positions[0]
    data = _pixels(path, [members[i][0] for i in order])
    sizes = tuple(float(np.linalg.norm(affine[:3, axis])) for axis in range(3))
    return Scan(path, data, LPS_TO_RAS @ affine, sizes, flags=flags)


def _slice_step(path: Path, positions: NDArray[np.float64], normal: NDArray[np.float64], first: Header) -> np.ndarray:
    """Vector from one slice to the next in mm; raises unless slices are evenly spaced and perpendicular to it."""
    if len(positions) == 1:
        return normal * float(first.get("SpacingBetweenSlices") or first.get("SliceThickness") or 1.0)
    along = positions @ normal
    gaps = np.diff(along)
    if gaps.min() < 1e-3:
        at = positions[int(np.argmin(gaps))].round(2).tolist()
        _refuse(
            path, "one image per slice position (split phases, echoes or b-values into series)", f"several at {at} mm"
        )
    middle = float(np.median(gaps))
    if np.abs(gaps - middle).max() > _UNEVEN * middle:
        worst = int(np.argmax(np.abs(gaps - middle)))
        missing = " (a slice is missing?)" if gaps[worst] > 1.5 * middle else ""
        got = f"{gaps[worst]:.3g} mm after slice {worst + 1}, elsewhere {middle:.3g} mm{missing}"
        _refuse(path, "evenly spaced slices", got)
    aside = (positions[-1] - positions[0]) - normal * (along[-1] - along[0])
    if np.linalg.norm(aside) > 0.5 * min(float(size) for size in first.PixelSpacing):
        angle = np.degrees(np.arctan2(np.linalg.norm(aside), along[-1] - along[0]))
        _refuse(
            path, "slices stacked at right angles (straighten the gantry tilt first)", f"a tilt of {angle:.1f} degrees"
        )
    return normal * (along[-1] - along[0]) / (len(positions) - 1)


def _pixels(path: Path, files: list[Path]) -> NDArray[np.float32]:
    import SimpleITK

    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames([str(file) for file in files])
    # The first slice would choose the type, and in PET every slice has a slope of its own.
    reader.SetOutputPixelType(SimpleITK.sitkFloat32)
    before = SimpleITK.ProcessObject.GetGlobalWarningDisplay()
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        return np.asarray(SimpleITK.GetArrayFromImage(reader.Execute())).T
    except RuntimeError as error:
        what = [line.strip() for line in str(error).splitlines() if line.strip()][-1]
        msg = f"{path} must be one of a readable DICOM series, got an unreadable one ({what}). Copy it again."
        raise InputError(msg) from error
    finally:
        SimpleITK.ProcessObject.SetGlobalWarningDisplay(before)


def _multiframe(path: Path) -> Scan:
    """Enhanced CT, MR or PET: all slices in one file, geometry and rescale per frame."""
    import highdicom

    try:
        volume = highdicom.imread(path).get_volume(dtype=np.float32, apply_presentation_lut=False)
    except broken() as error:
        msg = f"{path} must hold an evenly spaced stack of frames, got another ({' '.join(str(error).split())})."
        raise InputError(msg) from error
    data, affine = from_highdicom(volume.array, volume.affine)
    return Scan(path, data, affine, tuple(float(size) for size in np.linalg.norm(affine[:3, :3], axis=0)))


def from_highdicom(array: NDArray[np.generic], affine: NDArray[np.float64]) -> tuple[np.ndarray, np.ndarray]:
    """Turn axes (slice, row, column) and a DICOM affine (LPS) into (X, Y, Z) and a NIfTI affine (RAS)."""
    return array.T, LPS_TO_RAS @ affine[:, [2, 1, 0, 3]]


def _refuse(path: Path, wanted: str, got: str) -> NoReturn:
    msg = f"{path} must be one of a series of {wanted}, got {got}."
    raise InputError(msg)
