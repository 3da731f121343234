"""Headers of MetaImage and NRRD, checked in plain Python before ITK sees them.

ITK crashes on some that are wrong, hangs on others, and takes memory for whatever sizes they state.
"""

from __future__ import annotations

import io
import math
import re
import zlib
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import NoReturn

from imaseg.data.formats.claims import DEFLATE, require_room, require_unpacked
from imaseg.errors import InputError

_LONGEST = 4 << 20
"""Bytes that a header is looked for in."""
_DIMENSIONS = range(2, 6)
_META_LINE = re.compile(r"\s*([^=:]+?)\s*[=:](.*)")
_META_BYTES = {
    "CHAR": 1, "UCHAR": 1, "SHORT": 2, "USHORT": 2, "INT": 4, "UINT": 4, "LONG": 4, "ULONG": 4, "LONG_LONG": 8,
    "ULONG_LONG": 8, "FLOAT": 4, "DOUBLE": 8,
}  # fmt: skip
_NRRD_BYTES = {
    1: ("signed char", "int8", "int8_t", "uchar", "unsigned char", "uint8", "uint8_t"),
    2: (
        "short", "short int", "signed short", "signed short int", "int16", "int16_t", "ushort", "unsigned short",
        "unsigned short int", "uint16", "uint16_t",
    ),
    4: ("int", "signed int", "int32", "int32_t", "uint", "unsigned int", "uint32", "uint32_t", "float"),
    8: (
        "longlong", "long long", "long long int", "signed long long", "signed long long int", "int64", "int64_t",
        "ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t", "double",
    ),
}  # fmt: skip
_NRRD_FIELDS = {
    "content", "number", "type", "blocksize", "dimension", "space", "spacedimension", "sizes", "spacings",
    "thicknesses", "axismins", "axismaxs", "spacedirections", "centers", "centerings", "kinds", "labels", "units",
    "min", "max", "oldmin", "oldmax", "endian", "encoding", "lineskip", "byteskip", "sampleunits", "spaceunits",
    "spaceorigin", "measurementframe", "datafile",
}  # fmt: skip
_PACKED, _TEXT = ("gzip", "gz"), ("ascii", "text", "txt", "hex")
_SERIES = re.compile(r"([^%]*%0?\d?d[^%\s]*) (-?\d+) (-?\d+) (-?\d+)( \d+)?")
"""Names of numbered files by a pattern, with the first number, the last and the step."""
_MANY = 100_000


@dataclass(frozen=True)
class _Header:
    """Fields of a header, names of voxel files (none: they follow the header), and its length in bytes."""

    fields: dict[str, str]
    files: list[str]
    length: int


def check_header(path: Path) -> None:
    """Check what a MetaImage or NRRD header states, by itself and against the bytes that are there.

    Raises:
        InputError: if the header is malformed, names files outside its own folder, or claims more than they hold.
    """
    if path.name.lower().endswith((".mha", ".mhd")):
        _check_meta(path)
    else:
        _check_nrrd(path)


def voxel_files(path: Path) -> list[Path]:
    """Files beside a header that it takes its voxels from, which need not exist; none where it holds them.

    Raises:
        InputError: if the header is malformed.
    """
    header = _meta(path) if path.name.lower().endswith((".mha", ".mhd")) else _nrrd(path)
    return [path.parent / name for name in header.files]


def nrrd_pairs(path: Path) -> dict[str, str]:
    """Pairs of key and value that programs add to an NRRD header, such as the segments of 3D Slicer.

    Raises:
        InputError: if the header is malformed.
    """
    return {key.removeprefix("="): text for key, text in _nrrd(path).fields.items() if key.startswith("=")}


def _meta(path: Path) -> _Header:
    fields: dict[str, str] = {}
    lines = io.BytesIO(_start(path))
    for line in lines:
        match = _META_LINE.fullmatch(line.decode("utf-8", "surrogateescape").rstrip())
        if match is None and line.strip():
            _refuse(path, "lines such as DimSize = 64 64 32", f"{line[:40]!r}")
        if match is None:
            continue
        fields[match[1]] = match[2].strip()
        if match[1] == "ElementDataFile":
            name = fields["ElementDataFile"]
            if name.upper() == "LOCAL":
                return _Header(fields, [], lines.tell())
            listed = None
            if name.upper().startswith("LIST"):
                rest = (other.decode("utf-8", "surrogateescape").strip() for other in lines)
                listed = [other for other in rest if other]
            return _Header(fields, _names(path, name, listed), 0)
    return _refuse(path, "the name of its voxel file (ElementDataFile)", "none")


def _check_meta(path: Path) -> None:
    header = _meta(path)
    fields = header.fields
    dimensions = _whole(path, fields, "NDims")
    if dimensions not in _DIMENSIONS:
        _refuse(path, "2 to 5 dimensions", f"NDims = {dimensions}")
    sizes = _sizes(path, "DimSize", fields.get("DimSize", ""), dimensions)
    kind = fields.get("ElementType", "")
    if kind.removeprefix("MET_") not in _META_BYTES or not kind.startswith("MET_"):
        _refuse(path, "a known ElementType, such as MET_SHORT", repr(kind))
    channels = _whole(path, fields, "ElementNumberOfChannels", 1)
    if not 1 <= channels <= _MANY:
        _refuse(path, "ElementNumberOfChannels above 0", str(channels))
    packed = fields.get("CompressedData", "False").lower() in ("true", "1")
    text = fields.get("BinaryData", "True").lower() not in ("true", "1")
    skipped = _whole(path, fields, "HeaderSize", 0)
    if skipped < -1:
        _refuse(path, "a HeaderSize of at least -1", str(skipped))
    length = _whole(path, fields, "CompressedDataSize", 0)
    there = _there(path, header) - max(skipped, 0)
    if not 0 <= length <= max(there, 0):
        _refuse(path, f"a CompressedDataSize of what is there ({there} bytes)", str(length))
    count = math.prod(sizes) * channels
    each = 1 if text else _META_BYTES[kind.removeprefix("MET_")]
    require_room(path, count * each, there, ratio=DEFLATE if packed else 1)
    if packed:
        _require_unpacked(path, header, count * each, max(skipped, 0))


def _nrrd(path: Path) -> _Header:
    start = _start(path)
    if not start.startswith(b"NRRD000"):
        _refuse(path, "the letters NRRD at its beginning", repr(start[:8]))
    end = re.search(rb"\r?\n\r?\n", start)
    whole = start[: end.start()] if end else start
    fields: dict[str, str] = {}
    lines = whole.decode("utf-8", "surrogateescape").splitlines()
    for number, line in enumerate(lines[1:], 2):
        if line.startswith("#"):
            continue
        key, pair, value = line.partition(":=")
        name, plain, text = line.partition(":")
        name = name.replace(" ", "").lower()
        if pair and ":" not in key:
            fields[f"={key}"] = value.replace("\\n", "\n").replace("\\\\", "\\")
        elif plain and name in _NRRD_FIELDS:
            fields[name] = text.strip()
            if name == "datafile" and text.strip().upper().startswith("LIST"):
                listed = [other.strip() for other in lines[number:] if other.strip()]
                return _Header(fields, _names(path, text.strip(), listed), 0)
        else:
            _refuse(path, "lines such as sizes: 64 64 32", f"{line[:40]!r}")
    if "datafile" in fields:
        return _Header(fields, _names(path, fields["datafile"], None), 0)
    if end is None:
        _refuse(path, "an empty line between header and voxels", "none")
    return _Header(fields, [], end.end() if end else 0)


def _check_nrrd(path: Path) -> None:
    header = _nrrd(path)
    fields = header.fields
    dimensions = _whole(path, fields, "dimension")
    if dimensions not in _DIMENSIONS:
        _refuse(path, "2 to 5 dimensions", f"dimension: {dimensions}")
    sizes = _sizes(path, "sizes", fields.get("sizes", ""), dimensions)
    kind = fields.get("type", "").lower()
    each = next((each for each, names in _NRRD_BYTES.items() if kind in names), 0)
    if not each:
        _refuse(path, "a known type, such as short", repr(kind))
    encoding = fields.get("encoding", "").lower()
    if encoding not in ("raw", *_PACKED, *_TEXT):
        _refuse(path, "one of the encodings raw, gzip, ascii and hex", repr(encoding))
    lines, skipped = _whole(path, fields, "lineskip", 0), _whole(path, fields, "byteskip", 0)
    there = _there(path, header)
    if not (0 <= lines <= there and -1 <= skipped <= max(there, 0) * (DEFLATE if encoding in _PACKED else 1)):
        _refuse(path, "line skip and byte skip within the file", f"{lines} and {skipped}")
    each = 1 if encoding in _TEXT else each
    claimed = math.prod(sizes) * each
    if encoding in _PACKED:
        require_room(path, claimed, there, ratio=DEFLATE)
        if not lines:
            _require_unpacked(path, header, claimed + max(skipped, 0), 0)
    else:
        require_room(path, claimed, there - max(skipped, 0))


def _require_unpacked(path: Path, header: _Header, size: int, skipped: int) -> None:
    """Raise unless the compressed voxels are sound, which ITK does not look at; of several files each is its own."""
    if len(header.files) > 1:
        return
    file = path.parent / header.files[0] if header.files else path
    try:
        require_unpacked(path, size, file, start=header.length + skipped)
    except (EOFError, zlib.error) as error:
        msg = f"{path} must be a complete image file, got damaged voxels ({error or 'they end early'}). Copy it again."
        raise InputError(msg) from error


_LONGEST_NAME = 255
"""Bytes that the name of a file may have."""


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_LONGEST)


def _there(path: Path, header: _Header) -> int:
    """Bytes of voxels behind the header, or in the files it names."""
    if not header.files:
        return path.stat().st_size - header.length
    files = [path.parent / name for name in header.files]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        _refuse(path, "its voxels beside it", f"no file {missing[0]!r}")
    return sum(file.stat().st_size for file in files)


def _names(path: Path, name: str, listed: list[str] | None) -> list[str]:
    """Names of voxel files: one, those of a list, or those of a pattern that ITK would hand to `sprintf`."""
    names = [name] if listed is None else listed
    for each in names:
        data_file = PureWindowsPath(each)  # understands / as well as \
        if data_file.is_absolute() or data_file.root or data_file.drive or ".." in data_file.parts or not each:
            msg = f"{path} must name voxels in its own folder, got {each!r}. Move them there and fix the header."
            raise InputError(msg)
        if len(each.encode(errors="replace")) > _LONGEST_NAME:
            msg = f"{path} must name voxels by a name that files can have, got {len(each)} characters. Fix the header."
            raise InputError(msg)
    if listed is not None or "%" not in name:
        return names
    series = _SERIES.fullmatch(" ".join(name.split()))
    if series is None or int(series[4]) < 1 or not 0 <= int(series[3]) - int(series[2]) <= _MANY:
        _refuse(path, "numbered voxel files such as slice_%03d.raw 1 20 1", repr(name))
    return [series[1] % i for i in range(int(series[2]), int(series[3]) + 1, int(series[4]))] if series else []


def _whole(path: Path, fields: dict[str, str], key: str, default: int | None = None) -> int:
    text = fields.get(key, "" if default is None else str(default))
    if re.fullmatch(r"-?\d{1,18}", text) is None:
        _refuse(path, f"a whole number as {key}", repr(text))
    return int(text)


def _sizes(path: Path, key: str, text: str, dimensions: int) -> list[int]:
    words = text.split()
    if len(words) != dimensions or not all(re.fullmatch(r"0*[1-9]\d{0,17}", word) for word in words):
        _refuse(path, f"{dimensions} sizes above 0 as {key}", repr(text))
    return [int(word) for word in words]


def _refuse(path: Path, wanted: str, got: str) -> NoReturn:
    msg = f"{path} must be a complete image file whose header has {wanted}, got {got}. Copy it again."
    raise InputError(msg)
