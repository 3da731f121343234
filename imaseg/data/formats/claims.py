"""What a header claims against what its file can hold: told before memory is taken for it."""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from imaseg.errors import InputError

DEFLATE = 1032
"""Bytes that one byte of a deflate stream (gzip, PNG) unpacks to at most."""
PACKED = 8 * DEFLATE
"""The same for pictures, whose pixels of one bit become a byte each. LZW reaches 2700, JPEG 2000 what it likes."""
SMALL = 64 << 20
"""Claims up to here harm nobody, and are left to the reader."""
_TRAILING = 1 << 20
"""Bytes behind the voxels that are let pass: some writers pad."""
_BLOCK = 1 << 18
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
_EMPTY = 1000
"""Parts of a gzip file that may hold nothing; each costs time."""


def require_room(path: Path, claimed: int, there: int, *, ratio: int = 1) -> None:
    """Check that a file can hold its voxels, and the memory too.

    Args:
        path: of the file, for errors.
        claimed: bytes of voxels that the header states.
        there: bytes in the file that may be voxels.
        ratio: how many bytes one of these may unpack to.

    Raises:
        InputError: if it cannot.
    """
    if claimed > there * ratio:
        packed = f" ({ratio} times as many at most, unpacked)" if ratio > 1 else ""
        msg = (
            f"{path} must be a complete file with the {claimed} bytes of voxels that its header states, got "
            f"{max(there, 0)} bytes{packed}: it ends early, or its header is wrong. Copy it again."
        )
        raise InputError(msg)
    require_memory(path, claimed)


def require_packed_room(path: Path, claimed: int, *, plain: bool = False) -> None:
    """Check that a picture can hold its pixels, and the memory too; small ones pass, for they harm nobody.

    Args:
        path: of the file.
        claimed: bytes of pixels that its header states.
        plain: whether they are stored without compression.

    Raises:
        InputError: if it cannot.
    """
    if claimed > SMALL:
        require_room(path, claimed, path.stat().st_size, ratio=1 if plain else PACKED)


def require_memory(path: Path, claimed: int) -> None:
    """Check that voxels fit into the memory of this machine that is free.

    Raises:
        InputError: if they do not.
    """
    if claimed > SMALL and claimed > (free := free_memory()):
        msg = (
            f"{path} must fit into memory, got voxels of {claimed / 1e9:.1f} GB with {free / 1e9:.1f} GB free. Take it "
            "out of the data, or read it on a larger machine."
        )
        raise InputError(msg)


def require_unpacked(path: Path, size: int, packed: Path, *, start: int = 0) -> None:
    """Unpack what is gzip or zlib without keeping it: it must hold `size` bytes, sound, and hardly more.

    The checksums are verified by the way, which nibabel and ITK leave out. Nothing far behind `size` is unpacked.

    Args:
        path: of the image, for errors.
        size: bytes that its header states.
        packed: the file.
        start: where in it the compressed bytes begin.

    Raises:
        InputError: if it holds fewer or many more.
        EOFError: if the stream ends early.
        zlib.error: if it is damaged.
    """
    done = 0
    with packed.open("rb") as file:
        file.seek(start)
        for part in _unpacked(file):
            done += len(part)
            if done > size + _TRAILING:
                msg = (
                    f"{path} must hold the {size} bytes that its header states, got more. Take what is behind the "
                    "voxels out, or copy it again."
                )
                raise InputError(msg)
    if done < size:
        msg = f"{path} must be a complete file with the {size} bytes that its header states, got {done}. Copy it again."
        raise InputError(msg)


def unpacked_start(packed: Path, length: int) -> bytes:
    """The first bytes of a gzip file, fewer than `length` if it holds fewer.

    Raises:
        EOFError: if the stream ends early.
        zlib.error: if it is damaged.
    """
    start = b""
    with packed.open("rb") as file:
        for part in _unpacked(file):
            start += part
            if len(start) >= length:
                break
    return start[:length]


def _unpacked(file: BinaryIO) -> Iterator[bytes]:
    """What the members of a stream unpack to, block by block."""
    packed, empty = file.read(_BLOCK), 0
    while packed:
        stream, size = zlib.decompressobj(_GZIP_OR_ZLIB), 0
        while not stream.eof:
            if not packed:
                raise EOFError
            part = stream.decompress(packed, _BLOCK)
            size += len(part)
            packed = stream.unconsumed_tail or (b"" if stream.eof else file.read(_BLOCK))
            yield part
        packed = (stream.unused_data or file.read(_BLOCK)).lstrip(b"\0")  # zeros that fill a block of a tape or disk
        empty += size == 0
        if empty > _EMPTY:
            raise EOFError


def require_inflated(path: Path, start: int, most: int) -> None:
    """Check that a raw deflate stream from byte `start` of a file on unpacks to at most `most` bytes.

    Raises:
        InputError: if it unpacks to more.
        zlib.error: if it is damaged.
    """
    stream, done = zlib.decompressobj(-zlib.MAX_WBITS), 0
    with path.open("rb") as file:
        file.seek(start)
        while not stream.eof and (packed := stream.unconsumed_tail or file.read(_BLOCK)):
            done += len(stream.decompress(packed, _BLOCK))
            if done > most:
                msg = f"{path} must unpack to {most >> 20} MB at most, got more. Write it without compression."
                raise InputError(msg)


def free_memory() -> float:
    """Bytes that a process may still take; infinite where the system does not say."""
    free = float("inf")
    with contextlib.suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(1024.0 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    with contextlib.suppress(OSError, ValueError):  # of a container
        free = min(free, float(Path("/sys/fs/cgroup/memory.max").read_text()))
    if free == float("inf") and hasattr(os, "sysconf"):
        with contextlib.suppress(OSError, ValueError):
            free = float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return free
