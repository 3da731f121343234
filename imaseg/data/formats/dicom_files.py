"""DICOM headers by pydicom, of single files and of all files in a folder."""

from __future__ import annotations

import math
import re
import sqlite3
import struct
import zlib
from functools import lru_cache
from pathlib import Path
from typing import Any

from imaseg.data.files import SUFFIXES
from imaseg.data.formats.claims import require_inflated, require_packed_room, require_room
from imaseg.errors import InputError

Header = Any
"""A `pydicom.Dataset` without its pixels."""
STRUCTURES = ("SEG", "RTSTRUCT")
"""Modalities of objects that are labels."""
_NO_IMAGES = ("SR", "PR", "KO", "REG", "RTPLAN", "RTDOSE", "RTIMAGE", "DOC", *STRUCTURES)
_LOCALISERS = {"LOCALIZER", "LOCALISER", "SCOUT", "TOPOGRAM"}
_MAGIC = b"DICM"
_BARE = re.compile(rb"[\x02\x08]\0.\0(?:[A-Z]{2}|..\0\0)", re.DOTALL)
"""First element of a data set without preamble: a group of 2 or 8, then its type, or its length in four bytes."""
_DEFLATED = "1.2.840.10008.1.2.1.99"
_INFLATED = 128 << 20
"""Bytes that a deflated data set may unpack to."""
_META_START = 128 + 4 + 12
"""Preamble, magic, and the element with the length of the rest of the meta header."""
_SUFFIXES = (".dcm", ".dicom", ".ima")


def read_header(path: Path) -> Header:
    """Header of a DICOM file, which may lack the preamble.

    Raises:
        InputError: if pydicom is missing or the file is no DICOM.
    """
    return _read(path, stop_before_pixels=True)


def read_whole(path: Path) -> Header:
    """Header and pixels, as stored, of a DICOM file.

    Raises:
        InputError: if pydicom is missing or the file is no DICOM.
    """
    return _read(path, stop_before_pixels=False)


def _read(path: Path, *, stop_before_pixels: bool) -> Header:
    pydicom = require_pydicom(path)
    try:
        _reject_bomb(path)
        bare = _BARE.match(_start(path)) is not None
        dataset = pydicom.dcmread(path, stop_before_pixels=stop_before_pixels, force=bare)
        if not any(dataset.get(key) for key in ("SOPClassUID", "Modality", "SeriesInstanceUID", "Rows")):
            msg = "neither an image nor another object"
            raise ValueError(msg)
        if "Rows" not in dataset and getattr(dataset.get("SOPClassUID"), "name", "").endswith("Image Storage"):
            msg = "the header ends early"
            raise ValueError(msg)
    except InputError:
        raise
    except broken() as error:
        what = " ".join(str(error).split())
        msg = f"{path} must be a DICOM file, got an unreadable one ({what}). Copy it again, or remove it."
        raise InputError(msg) from error
    return dataset


def _reject_bomb(path: Path) -> None:
    """Raise if a data set that is deflated as a whole unpacks to more than it should: pydicom would unpack it all."""
    from pydicom.filereader import read_file_meta_info

    if _start(path)[128:] == _MAGIC:
        meta = read_file_meta_info(path)
        if meta.get("TransferSyntaxUID") == _DEFLATED:
            require_inflated(path, _META_START + int(meta.get("FileMetaInformationGroupLength", 0)), _INFLATED)


def require_pixels(path: Path, header: Header) -> None:
    """Check that a file can hold the pixels that its header states.

    Raises:
        InputError: if it cannot.
    """
    sides = [int(header.get(key) or 1) for key in ("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel")]
    claimed = math.prod(sides) * int(header.get("BitsAllocated") or 8) // 8
    syntax = header.file_meta.get("TransferSyntaxUID") if getattr(header, "file_meta", None) else None
    if syntax is None or not (syntax.is_encapsulated or syntax == _DEFLATED):
        require_room(path, claimed, path.stat().st_size)
    else:
        require_packed_room(path, claimed)


def why_no_slice(header: Header) -> str:
    """In a few words why a file is not read as a slice of a series; empty if it is."""
    kind = header.get("Modality") or ""
    if kind in _NO_IMAGES:
        return f"{kind}, which is not read as an image"
    if "Rows" not in header:
        return "DICOM without an image"
    return "localiser" if _LOCALISERS & {*_texts(header.get("ImageType"))} else ""


def structure_names(header: Header) -> list[str]:
    """Names of the structures of a SEG or RTSTRUCT, in its order."""
    if header.Modality == "SEG":
        return [str(item.SegmentLabel) for item in header.get("SegmentSequence", [])]
    return [str(item.get("ROIName", item.ROINumber)) for item in header.get("StructureSetROISequence", [])]


def _texts(value: Any) -> list[str]:
    """Values of an element that may have none, one or several."""
    return [str(part).upper() for part in ([value] if isinstance(value, str) else value or [])]


def require_pydicom(path: Path) -> Any:
    """Import pydicom and check that highdicom is installed, too.

    Raises:
        InputError: if they are not installed.
    """
    try:
        import highdicom  # noqa: F401
        import pydicom
    except ImportError as error:
        msg = (
            f"{path} must be read by highdicom and pydicom, got neither. Type: python -m pip install highdicom, "
            "or convert the series to NIfTI."
        )
        raise InputError(msg) from error
    return pydicom


def broken() -> tuple[type[Exception], ...]:
    """Exceptions that pydicom and highdicom raise for files that are damaged or of another kind."""
    from pydicom.errors import BytesLengthException, InvalidDicomError

    return (
        InvalidDicomError, BytesLengthException, OSError, EOFError, ValueError, KeyError, TypeError, IndexError,
        NotImplementedError, RuntimeError, ArithmeticError, MemoryError, AttributeError, AssertionError,
        zlib.error, struct.error, sqlite3.Error,  # highdicom keeps the frames' indices in a database
    )  # fmt: skip


def dicom_files(folder: Path) -> list[Path]:
    """Files of one folder that are DICOM by suffix or by their first bytes, with or without preamble."""
    files = (path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    return sorted(path for path in files if _is_dicom(path))


def headers_of(folder: Path) -> tuple[tuple[Path, Header], ...]:
    """Headers of all DICOM files of a folder, cached for further series in the same folder.

    Raises:
        InputError: if one of them is unreadable: a slice of any series might be missing.
    """
    paths = dicom_files(folder)
    return _headers(tuple((path, path.stat().st_mtime_ns, path.stat().st_size) for path in paths))


@lru_cache(maxsize=4)
def _headers(states: tuple[tuple[Path, int, int], ...]) -> tuple[tuple[Path, Header], ...]:
    return tuple((path, read_header(path)) for path, _, _ in states)


def _is_dicom(path: Path) -> bool:
    name = path.name.lower()
    if name.endswith(_SUFFIXES):
        return True
    if (name.endswith(SUFFIXES) and not name.endswith(".img")) or name == "dicomdir":
        return False
    start = _start(path)
    return start[128:] == _MAGIC or _BARE.match(start) is not None


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(132)
