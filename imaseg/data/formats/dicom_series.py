"""A DICOM series as one volume: slices sorted by position, grey values rescaled as the header says.

The geometry comes from ImagePositionPatient, ImageOrientationPatient and PixelSpacing alone; slice numbers, slice
thickness and file names are not trusted. GDCM (in SimpleITK) decodes the pixels, compressed ones too, and applies
rescale slope and intercept: HU for CT.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from imaseg.data.formats.dicom_files import Header, broken, read_header, read_whole, require_pixels
from imaseg.data.formats.dicom_slices import Slice, difference, refuse, require_alike, require_grey, series_slices
from imaseg.data.formats.itk import LPS_TO_RAS
from imaseg.data.formats.itk_apart import ItkError, read_apart
from imaseg.data.formats.scan import Scan
from imaseg.errors import InputError

_UNEVEN = 0.1
"""Largest deviation of the gap between two slices from the median gap, as a share of it."""
_ADRIFT = 0.25
"""Largest distance of a slice from its place on an even grid, as a share of the gap: small deviations may add up."""


def read_series(path: Path) -> Scan:
    """Read all slices of the series that a DICOM file belongs to; they must lie in its folder.

    Raises:
        InputError: if a slice is unreadable or missing, the gantry was tilted, or the slices are not evenly spaced.
    """
    header = read_header(path)
    try:
        slices, flags = series_slices(path, header)
        several = [file.name for file, header in slices if str(header.get("NumberOfFrames") or 1) != "1"]
        if several and len(slices) > 1:
            refuse(path, "single frames, or one file of all frames", f"{several[0]} among {len(slices)} files")
        for member in slices:
            require_pixels(*member)
        require_grey(path, slices)
        flags += _about_values([header for _, header in slices])
        return _multiframe(path, flags) if several else _stack(path, slices, flags)
    except InputError:
        raise
    except broken() as error:
        refuse(path, "complete headers", f"a damaged one ({' '.join(str(error).split())})")


def _about_values(headers: list[Header]) -> list[str]:
    """Flags about what the grey values mean."""
    flags = []
    if any(header.get("PhotometricInterpretation") == "MONOCHROME1" for header in headers):
        flags.append("MONOCHROME1: small values are meant to look bright; kept as stored")
    ct = [header for header in headers if header.get("Modality") == "CT" and "NumberOfFrames" not in header]
    if any("RescaleIntercept" not in header for header in ct):
        flags.append("CT without RescaleIntercept: stored values are taken for HU")
    kinds = {str(header.get("RescaleType") or "HU") for header in ct} - {"HU"}
    return flags + [f"CT whose RescaleType is {kind}, not HU" for kind in sorted(kinds)]


def _stack(path: Path, slices: list[Slice], flags: list[str]) -> Scan:
    require_alike(path, slices)
    first = slices[0][1]
    rows, columns = (np.asarray(first.ImageOrientationPatient, float)[part] for part in (slice(3, 6), slice(0, 3)))
    normal = np.cross(columns, rows)
    slices = sorted(slices, key=lambda member: float(np.asarray(member[1].ImagePositionPatient, float) @ normal))
    row_step, column_step = (float(size) for size in first.PixelSpacing)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = columns * column_step, rows * row_step
    affine[:3, 2] = _slice_step(path, slices, normal, flags)
    affine[:3, 3] = np.asarray(slices[0][1].ImagePositionPatient, float)
    data = _pixels(path, slices)
    sizes = tuple(float(np.linalg.norm(affine[:3, axis])) for axis in range(3))
    return Scan(path, data, LPS_TO_RAS @ affine, sizes, flags=flags + _about_padding(data, slices))


def _slice_step(path: Path, slices: list[Slice], normal: NDArray[np.float64], flags: list[str]) -> np.ndarray:
    """Vector from one slice to the next in mm; raises unless slices are evenly spaced and perpendicular to it."""
    first = slices[0][1]
    positions = np.array([np.asarray(header.ImagePositionPatient, float) for _, header in slices])
    if len(positions) == 1:
        thickness = first.get("SpacingBetweenSlices") or first.get("SliceThickness")
        flags += [] if thickness else ["one slice without thickness: 1 mm assumed"]
        return normal * float(thickness or 1.0)
    along = positions @ normal
    _require_even(path, slices, along)
    aside = (positions[-1] - positions[0]) - normal * (along[-1] - along[0])
    if np.linalg.norm(aside) > 0.5 * min(float(size) for size in first.PixelSpacing):
        angle = np.degrees(np.arctan2(np.linalg.norm(aside), along[-1] - along[0]))
        refuse(
            path, "slices stacked at right angles (straighten the gantry tilt first)", f"a tilt of {angle:.1f} degrees"
        )
    return normal * (along[-1] - along[0]) / (len(positions) - 1)


def _require_even(path: Path, slices: list[Slice], along: NDArray[np.float64]) -> None:
    """Raise unless each slice lies one gap after the one before, also where small deviations add up."""
    gaps = np.diff(along)
    if gaps.min() < 1e-3:
        at = int(np.argmin(gaps))
        place = [round(float(value), 2) for value in slices[at][1].ImagePositionPatient]
        got = f"several at {place} mm ({difference(slices[at], slices[at + 1])})"
        refuse(path, "one image per slice position (split phases, echoes or b-values into series)", got)
    middle = float(np.median(gaps))
    if np.abs(gaps - middle).max() > _UNEVEN * middle:
        worst = int(np.argmax(np.abs(gaps - middle)))
        missing = " (a slice is missing?)" if gaps[worst] > 1.5 * middle else ""
        got = f"{gaps[worst]:.3g} mm after slice {worst + 1}, elsewhere {middle:.3g} mm{missing}"
        refuse(path, "evenly spaced slices", got)
    adrift = np.abs(along - np.linspace(along[0], along[-1], len(along))).max()
    if adrift > _ADRIFT * middle:
        refuse(path, "evenly spaced slices", f"gaps of {gaps.min():.3g} to {gaps.max():.3g} mm, {adrift:.2g} mm adrift")


def _about_padding(data: NDArray[np.float32], slices: list[Slice]) -> list[str]:
    """A flag if voxels outside the field of view are brighter than others: dark ones look like air to every step."""
    first = slices[0][1]
    padding = first.get("PixelPaddingValue")
    if padding is None:
        return []
    value = float(padding) * float(first.get("RescaleSlope", 1)) + float(first.get("RescaleIntercept", 0))
    share = float(np.isclose(data, value).mean())
    if not share or value <= data.min():
        return []
    return [f"{100 * share:.2g} % of the voxels hold the padding value {value:g}, which is not the lowest; kept"]


def _pixels(path: Path, slices: list[Slice]) -> NDArray[np.float32]:
    """Grey values (X, Y, Z) of sorted slices."""
    try:
        with TemporaryDirectory() as folder:
            files = [_for_gdcm(file, header, Path(folder)) for file, header in slices]
            return np.asarray(read_apart("series", files).voxels, np.float32).T
    except ItkError as error:
        msg = f"{path} must be one of a readable DICOM series, got an unreadable one ({error}). Copy it again."
        raise InputError(msg) from error


def _for_gdcm(file: Path, header: Header, folder: Path) -> Path:
    """The file, or a copy that GDCM reads as stored.

    GDCM inverts MONOCHROME1 images, and wants a preamble before a meta header.
    """
    inverted = header.get("PhotometricInterpretation") == "MONOCHROME1"
    if not inverted and (header.preamble or not header.file_meta):
        return file
    whole = read_whole(file)
    whole.PhotometricInterpretation = "MONOCHROME2"
    whole.preamble = b"\0" * 128 if whole.file_meta else None
    whole.save_as(folder / file.name)
    return folder / file.name


def _multiframe(path: Path, flags: list[str]) -> Scan:
    """Enhanced CT, MR or PET: all slices in one file, geometry and rescale per frame."""
    import highdicom

    try:
        volume = highdicom.imread(path).get_volume(dtype=np.float32, apply_presentation_lut=False)
    except broken() as error:
        msg = f"{path} must hold an evenly spaced stack of frames, got another ({' '.join(str(error).split())})."
        raise InputError(msg) from error
    data, affine = from_highdicom(volume.array, volume.affine)
    return Scan(path, data, affine, tuple(float(size) for size in np.linalg.norm(affine[:3, :3], axis=0)), flags=flags)


def from_highdicom(array: NDArray[np.generic], affine: NDArray[np.float64]) -> tuple[np.ndarray, np.ndarray]:
    """Turn axes (slice, row, column) and a DICOM affine (LPS) into (X, Y, Z) and a NIfTI affine (RAS)."""
    return array.T, LPS_TO_RAS @ affine[:, [2, 1, 0, 3]]
