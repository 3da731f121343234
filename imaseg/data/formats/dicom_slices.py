"""Which files are the slices of a DICOM series, and whether their headers agree."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from imaseg.data.formats.dicom_files import Header, broken, headers_of, read_whole, why_no_slice
from imaseg.errors import InputError

Slice = tuple[Path, Header]
_FOR_ALL = ("Rows", "Columns", "PixelSpacing", "ImageOrientationPatient")
_TELL_APART = (
    "AcquisitionNumber", "TemporalPositionIdentifier", "EchoNumbers", "EchoTime", "DiffusionBValue", "TriggerTime",
    "NominalPercentageOfCardiacPhase", "ConvolutionKernel", "ImageType",
)  # fmt: skip


def series_slices(path: Path, header: Header) -> tuple[list[Slice], list[str]]:
    """Slices of the series of a file in its folder, each image once, and flags about those that were left out.

    Raises:
        InputError: if there is none, or a DICOM file of the folder is unreadable: it might be one of them.
    """
    series = header.get("SeriesInstanceUID")
    members = [member for member in headers_of(path.parent) if member[1].get("SeriesInstanceUID") == series]
    slices = [member for member in members if not why_no_slice(member[1])]
    if not slices:
        refuse(path, "images", "other objects")
    localisers = sum(why_no_slice(other) == "localiser" for _, other in members)
    flags = [f"{localisers} localiser{'s' * (localisers > 1)} left out"] if localisers else []
    slices, told = _without_copies(slices)
    return slices, flags + told


def _without_copies(slices: list[Slice]) -> tuple[list[Slice], list[str]]:
    """Each image once: a copy is what has the position and the pixels of another, whatever its UID."""
    by_place: dict[tuple[float, ...], list[Slice]] = {}
    for path, header in slices:
        by_place.setdefault(place(header), []).append((path, header))
    kept = [member for group in by_place.values() for member in (_distinct(group) if len(group) > 1 else group)]
    extra = len(slices) - len(kept)
    flags = [f"{extra} slices lie there twice; one of each used"] if extra else []
    if len({str(header.get("SOPInstanceUID")) for _, header in kept}) < len(kept):
        flags.append("different slices have the same SOPInstanceUID; told apart by position")
    if _several("FrameOfReferenceUID", kept):
        flags.append("slices state several frames of reference; taken for one")
    return kept, flags


def _distinct(group: list[Slice]) -> list[Slice]:
    images: dict[Any, Slice] = {}
    for path, header in group:
        rescale = header.get("RescaleSlope"), header.get("RescaleIntercept")
        images.setdefault((rescale, read_whole(path).get("PixelData")), (path, header))
    return list(images.values())


def place(header: Header) -> tuple[float, ...]:
    """Position and orientation of a slice, rounded to micrometres; empty where the header lacks or garbles them."""
    with contextlib.suppress(*broken()):
        values = [*(header.get("ImagePositionPatient") or []), *(header.get("ImageOrientationPatient") or [])]
        return tuple(round(float(value), 3) for value in values)
    return ()


def require_alike(path: Path, slices: list[Slice]) -> None:
    """Check that all slices have a place, a size and a direction, and the same ones, and are of one person.

    Raises:
        InputError: naming the slices that differ.
    """
    if _several("PatientID", slices):  # who it is stays out of the message
        refuse(path, "slices of one PatientID", "several")
    for key in (*_FOR_ALL, "ImagePositionPatient"):
        without = [p.name for p, header in slices if header.get(key) is None]
        if without:
            refuse(path, f"slices with {key}", f"none in {_few(without)}")
    for key in _FOR_ALL:
        first = slices[0][1].get(key)
        unlike = [
            member for member in slices if not np.allclose(_numbers(member, key), np.atleast_1d(first), atol=1e-3)
        ]
        if unlike:
            names = [p.name for p, _ in min(unlike, [m for m in slices if m not in unlike], key=len)]
            got = f"{_shown(first)} and {_shown(unlike[0][1].get(key))} (look at {_few(names)}; a localiser?)"
            refuse(path, f"slices of one {key}", got)


def require_grey(path: Path, slices: list[Slice]) -> None:
    """Check that stored values become grey values by a slope and an intercept.

    Raises:
        InputError: for colours, palettes, lookup tables, and a slope of 0.
    """
    for file, header in slices:
        kind = header.get("PhotometricInterpretation", "MONOCHROME2")
        if int(header.get("SamplesPerPixel", 1)) != 1 or not kind.startswith("MONOCHROME"):
            refuse(path, "grey images", f"{kind} in {file.name}")
        if "ModalityLUTSequence" in header:
            refuse(path, "images with RescaleSlope and RescaleIntercept", f"a ModalityLUTSequence in {file.name}")
        if header.get("RescaleSlope") == 0:
            refuse(path, "images with a RescaleSlope", f"0 in {file.name}")


def difference(first: Slice, second: Slice) -> str:
    """What tells two slices at one position apart, e.g. `IM4 and IM5, which differ in AcquisitionNumber`."""
    keys = [key for key in _TELL_APART if first[1].get(key) != second[1].get(key)]
    differ = f", which differ in {keys[0]}" if keys else ""
    return f"{first[0].name} and {second[0].name}{differ}"


def refuse(path: Path, wanted: str, got: str) -> NoReturn:
    """Raise an `InputError` about the series of a file."""
    msg = f"{path} must be one of a series of {wanted}, got {got}."
    raise InputError(msg)


def _several(key: str, slices: list[Slice]) -> bool:
    return len({str(header.get(key) or "") for _, header in slices}) > 1


def _numbers(member: Slice, key: str) -> Any:
    return np.atleast_1d(member[1].get(key))


def _shown(value: Any) -> str:
    return f"[{', '.join(f'{number:g}' for number in np.atleast_1d(value).astype(float))}]"


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
