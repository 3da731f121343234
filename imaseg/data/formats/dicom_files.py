"""DICOM headers by pydicom, of single files and of all files in a folder."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from imaseg.data.files import SUFFIXES
from imaseg.errors import InputError

Header = Any
"""A `pydicom.Dataset` without its pixels."""
_MAGIC = b"DICM"
_SUFFIXES = (".dcm", ".dicom", ".ima")


def read_header(path: Path) -> Header:
    """Header of a DICOM file.

    Raises:
        InputError: if pydicom is missing or the file is no DICOM.
    """
    pydicom = require_pydicom(path)
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True)
        header.SOPClassUID, header.SOPInstanceUID  # noqa: B018
    except broken() as error:
        msg = f"{path} must be a DICOM file, got an unreadable one ({' '.join(str(error).split())}). Copy it again."
        raise InputError(msg) from error
    return header


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
        NotImplementedError, RuntimeError, OverflowError, MemoryError, AttributeError,
    )  # fmt: skip


def dicom_files(folder: Path) -> list[Path]:
    """Files of one folder that are DICOM by suffix or by their first bytes."""
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
    if name.endswith(SUFFIXES) or name == "dicomdir":
        return False
    with path.open("rb") as file:
        return file.read(132)[128:] == _MAGIC
