"""Damage to the headers of image formats, field by field, with checksums made anew so that readers get that far."""

from __future__ import annotations

import gzip
import io
import random
import struct
import zlib

import nibabel as nib
import pydicom

from fuzzing.raw_bytes import EXTREMES, FLOATS, damaged

_NIFTI = dict(nib.Nifti1Header.template_dtype.fields or {})


def nifti_changed(rng: random.Random, content: bytes) -> tuple[bytes, str]:
    """One to three fields of a NIfTI or Analyze header are at the edge of their type."""
    changed, told = bytearray(content), []
    for _ in range(rng.choice((1, 1, 2, 3))):
        name = rng.choice(sorted(_NIFTI))
        kind, start = _NIFTI[name][:2]
        kind, shape = (kind.subdtype or (kind, ()))[:2]
        at = start + kind.itemsize * rng.randrange(shape[0] if shape else 1)
        letter = {"f4": "f", "i2": "h", "i4": "i", "u1": "B", "i1": "b"}.get(kind.str[1:])
        if letter == "f":
            changed[at : at + 4] = struct.pack("<f", rng.choice(FLOATS))
        else:
            value = rng.choice(EXTREMES) if rng.random() < 0.7 else rng.randrange(2000)
            changed[at : at + kind.itemsize] = (value % 2 ** (8 * kind.itemsize)).to_bytes(kind.itemsize, "little")
        told.append(name)
    return bytes(changed), "+".join(told)


def gzip_changed(rng: random.Random, content: bytes) -> tuple[bytes, str]:
    """What is packed is changed, and packed again; or a second stream follows, or very many zeros."""
    inner = gzip.decompress(content)
    kind = rng.random()
    if kind < 0.1:
        return content + gzip.compress(inner, 1), "two streams"
    if kind < 0.15:
        return gzip.compress(inner + b"\0" * 400_000_000, 1), "swell"
    changed, told = (nifti_changed if kind < 0.7 else damaged)(rng, inner)
    return gzip.compress(changed, 1), told


def png_changed(rng: random.Random, content: bytes) -> tuple[bytes, str]:
    """A chunk of a PNG file is gone, twice there, elsewhere or another, its checksum right."""
    chunks, at = [], 8
    while at < len(content):
        length = int.from_bytes(content[at : at + 4], "big")
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += 12 + length
    i, j = rng.randrange(len(chunks)), rng.randrange(len(chunks))
    kind = rng.choice(("delete", "double", "swap", "damage", "field", "field", "swell"))
    name, data = chunks[i]
    if kind == "delete":
        del chunks[i]
    elif kind == "double":
        chunks.insert(j, chunks[i])
    elif kind == "swap":
        chunks[i], chunks[j] = chunks[j], chunks[i]
    elif kind == "damage":
        chunks[i] = name, damaged(rng, data)[0]
    elif kind == "field":
        head, field = bytearray(chunks[0][1]), rng.randrange(7)  # width and height, then five single bytes
        if field < 2:
            head[4 * field : 4 * field + 4] = (rng.choice(EXTREMES) % 2**32).to_bytes(4, "big")
        else:
            head[field + 6] = rng.randrange(256)
        chunks[0] = b"IHDR", bytes(head)
    else:
        chunks.insert(1, (rng.choice((b"zTXt", b"iCCP")), b"x\0\0" + zlib.compress(b"\0" * 50_000_000, 1)))
    body = b"".join(
        struct.pack(">I", len(inner)) + name + inner + struct.pack(">I", zlib.crc32(name + inner))
        for name, inner in chunks
    )
    return content[:8] + body, f"{kind} {name.decode('latin1')}"


def tiff_changed(rng: random.Random, content: bytes) -> tuple[bytes, str]:
    """Parts of one to three tags of a TIFF file's first directory are at the edge of their type."""
    changed = bytearray(content)
    start = int.from_bytes(content[4:8], "little")
    count, told = int.from_bytes(content[start : start + 2], "little"), []
    for _ in range(rng.choice((1, 1, 2, 3))):
        at = start + 2 + 12 * rng.randrange(count)
        tag = int.from_bytes(content[at : at + 2], "little")
        field, offset, width = rng.choice((("tag", 0, 2), ("type", 2, 2), ("count", 4, 4), *[("value", 8, 4)] * 3))
        value = rng.choice(EXTREMES) if rng.random() < 0.7 else rng.randrange(70)
        changed[at + offset : at + offset + width] = (value % 2 ** (8 * width)).to_bytes(width, "little")
        told.append(f"{tag} {field}")
    return bytes(changed), "+".join(told)


_ANY = (
    None,
    "",
    0,
    -1,
    65535,
    2**31,
    float("nan"),
    1e38,
    "x",
    "x\\y",
    b"\0\1",
    [],
    [0, 0, 0],
    ["1"] * 3000,
    "1.5",
    "9" * 70,
)


def dicom_changed(rng: random.Random, content: bytes) -> tuple[bytes, str]:
    """An element of a DICOM file, inner ones too, is gone or holds another value."""
    header = pydicom.dcmread(io.BytesIO(content))
    every = list(_elements(header)) + [(header.file_meta, one.tag) for one in header.file_meta]
    part, tag = rng.choice(every)
    name = part[tag].keyword or str(tag)
    if rng.random() < 0.3:
        del part[tag]
        told = "delete"
    elif part[tag].VR == "SQ":
        items = part[tag].value
        told = rng.choice(("empty", "double"))
        part[tag].value = [] if told == "empty" else [*items, *items]
    else:
        value = rng.choice(_ANY)
        part[tag].value, told = value, f"{value!r}"[:20]
    made = io.BytesIO()
    header.save_as(made)
    return made.getvalue(), f"{name}: {told}"


def _elements(part: pydicom.Dataset):  # noqa: ANN202
    for element in part:
        yield part, element.tag
        for item in element.value if element.VR == "SQ" else ():
            yield from _elements(item)
