"""Reads files that `torch.save` wrote as data, after a look at what they claim: nothing in them is executed.

A pickle of a few bytes can ask for any amount of memory, and an archive can claim more than it holds.
"""

from __future__ import annotations

import itertools
import pickle
import pickletools
import struct
import zipfile
from collections.abc import Mapping
from encodings import aliases, normalize_encoding
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from imaseg.errors import InputError

_END = struct.Struct("<4s4H2LH")
"""The end of an archive; behind its mark and four counts the size and the place of the table of contents."""
_END_64 = struct.Struct("<4sQ2H2L4Q4sLQL")
"""What stands before it in archives of 64 bits: the same in its last fields, and its own place."""
_MOST_LISTED = 2**23
"""Bytes of an archive's table of contents: about 100,000 records."""
_MOST_STEPS = 200_000
"""Steps of a pickle: a network of a thousand tensors, with its optimiser, takes 50,000."""
_PICKLES = 5
"""Pickles at the start of a file in the form that PyTorch wrote before 1.6."""
_LARGEST_TUPLE = 1000
_FILLING = {"builtins bytearray", "__builtin__ bytearray"}
"""Asks for memory by a number; no weights need it."""
_DOUBLING = {f"{name}_codec" for name in ("base64", "bz2", "hex", "quopri", "uu", "zlib")}
"""Codecs from bytes to longer bytes, which repeat without end; weights need latin1 alone."""
_LONGEST_NAME = 20
"""Of a codec."""


def read_archive(path: Path, *, mend: str, trust: bool = False) -> Any:
    """Read such a file on to the CPU; the tensors stay on disk until they are used.

    Args:
        path: the file.
        mend: what to do about one that holds more than data, for the message.
        trust: whether such a file may be read all the same, which runs code of its author.

    Raises:
        InputError: if it is missing, damaged, holds more than data, or claims more than is in it.
    """
    if not path.is_file():
        msg = f"{path} must be a file that torch.save wrote, got {'a folder' if path.is_dir() else 'nothing there'}."
        raise InputError(msg)
    try:
        mapped = _checked(path)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except InputError:
        raise
    except Exception as error:  # what is damaged may fail anywhere
        foreign = _foreign(path) if isinstance(error, pickle.UnpicklingError) else []
        if foreign and trust:
            return _trusted(path)
        if foreign:
            msg = (
                f"{path} must hold tensors, numbers and names only, got {', '.join(foreign)}, which would run code "
                f"when read. {mend}"
            )
            raise InputError(msg) from error
        told = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        msg = f"{path} must be a file that torch.save wrote, got an unreadable one ({told}). Copy it again."
        raise InputError(msg) from error


def check_tensors(state: Mapping[Any, Any], *, source: str) -> None:
    """Check that tensors are plain ones that lie in the file as a whole.

    Raises:
        InputError: naming the first that does not.
    """
    for name, tensor in state.items():
        if not isinstance(tensor, Tensor):
            got = type(tensor).__name__
        elif tensor.is_meta:
            got = "one without values"
        elif tensor.is_nested or tensor.is_quantized or tensor.layout != torch.strided:
            got = "a quantised one" if tensor.is_quantized else "a nested or sparse one"
        elif tensor.is_complex():
            got = "complex numbers"
        elif tensor.numel() * tensor.itemsize > tensor.untyped_storage().nbytes():
            got = f"{tuple(tensor.shape)}, which is more than the file holds"
        else:
            continue
        msg = f"{source} must hold dense tensors of real numbers, got {got} as {str(name)!r:.80}. Save it as such."
        raise InputError(msg)


def _checked(path: Path) -> bool:
    """Whether the file is an archive, as all of PyTorch's since 1.6; raises if it claims too much."""
    with path.open("rb") as file:
        if file.read(4) != b"PK\x03\x04":
            file.seek(0)
            for _ in range(_PICKLES):
                _check_pickle(file, path)
            return False
        _check_listing(file, path)
        with zipfile.ZipFile(file) as archive:
            _check_records(archive.infolist(), path)
            _check_sums(archive, path)
            for name in archive.namelist():
                if name.lower().endswith("/data.pkl"):  # PyTorch takes small and large letters for the same
                    with archive.open(name) as stream:
                        _check_pickle(stream, path)
    return True


def _check_listing(file: IO[bytes], path: Path) -> None:
    """Look at the table of contents before it is read: Python and PyTorch search for it by different rules."""
    size = path.stat().st_size
    file.seek(max(0, size - _END_64.size - _END.size))
    tail = file.read().rjust(_END_64.size + _END.size, b"\0")
    mark, *_, listed, start, _ = _END.unpack(tail[_END_64.size :])
    end = size - _END.size
    *_, listed_64, start_64, locator, _, there, _ = _END_64.unpack(tail[: _END_64.size])
    if locator == b"PK\x06\x07":
        end, listed, start = there, listed_64, start_64
    if mark != b"PK\x05\x06" or listed > min(size, _MOST_LISTED):
        _refuse(path, "no table of contents" if mark != b"PK\x05\x06" else f"a table of contents of {listed} bytes")
    if start + listed != end or size - end not in (_END.size, _END_64.size + _END.size):
        _refuse(path, "a table of contents that lies elsewhere than the file says")
    file.seek(0)


def _check_records(records: list[zipfile.ZipInfo], path: Path) -> None:
    if any(".." in Path(record.filename).parts or record.filename.startswith(("/", "\\")) for record in records):
        _refuse(path, "records that lead out of it")
    if any(record.compress_type != zipfile.ZIP_STORED for record in records):
        _refuse(path, "compressed records, which PyTorch does not write")
    if len({record.filename.lower() for record in records}) < len(records):
        _refuse(path, "records of one name, of which PyTorch takes any")
    claimed = sum(record.file_size for record in records)
    if claimed > path.stat().st_size:
        _refuse(path, f"records of {claimed} bytes in {path.stat().st_size}")


def _check_sums(archive: zipfile.ZipFile, path: Path) -> None:
    if any(record.CRC for record in archive.infolist()):
        if (damaged := archive.testzip()) is not None:
            _refuse(path, f"a damaged one, whose record {damaged} differs from its checksum")
        return
    for record in archive.infolist():  # written with `set_crc32_options(False)`: there are none to compare with
        record.CRC = None  # type: ignore[assignment]


def _check_pickle(stream: IO[bytes], path: Path) -> None:
    """Look through one pickle without following it."""
    names, texts, sizes = set(), set(), _Sizes()
    for step, value, _ in itertools.islice(pickletools.genops(stream), _MOST_STEPS):
        if sizes.after(step, value) > _LARGEST_TUPLE:
            _refuse(path, f"a tuple that stands for more than {_LARGEST_TUPLE} values")
        if step.name == "GLOBAL":
            names.add(value)
        elif isinstance(value, str) and len(value) < _LONGEST_NAME:
            texts.add(normalize_encoding(value).lower())
        elif step.name == "STOP":
            break
    else:
        _refuse(path, f"a pickle of more than {_MOST_STEPS} steps")
    doubles = "_codecs encode" in names and {aliases.aliases.get(text, text) for text in texts} & _DOUBLING
    if doubles or names & _FILLING:
        _refuse(path, "a pickle that asks for memory")


class _Sizes:
    """How many values the tuples of a pickle stand for: hashing one goes through all, though they be the same one."""

    def __init__(self) -> None:
        self._stack: list[int | None] = []
        """Sizes; None is a mark."""
        self._memo: dict[Any, int | None] = {}

    def after(self, step: pickletools.OpcodeInfo, value: Any) -> int:
        """The size of what the next step leaves on top."""
        if step.name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self._memo[len(self._memo) if value is None else value] = self._stack[-1]
            return 0
        taken = self._taken(step)
        size = 1
        if step.name.startswith("TUPLE"):
            size += sum(one or 0 for one in taken)
        elif step.name in ("GET", "BINGET", "LONG_BINGET"):
            size = self._memo[value] or 0
        elif step.name == "DUP":
            taken = [*taken, *taken]
        marked = pickletools.markobject in step.stack_after
        self._stack += taken if step.name == "DUP" else [None if marked else size] * len(step.stack_after)
        return size

    def _taken(self, step: pickletools.OpcodeInfo) -> list[int | None]:
        before = step.stack_before
        number = len(before)
        if pickletools.markobject in before:
            number = before.index(pickletools.markobject)
            mark = len(self._stack) - 1 - self._stack[::-1].index(None)
            number += len(self._stack) - mark
        taken = self._stack[len(self._stack) - number :]
        del self._stack[len(self._stack) - number :]
        return taken


def _refuse(path: Path, got: str) -> None:
    msg = f"{path} must be a file that torch.save wrote, got {got}. Copy it again, or ask for the weights alone."
    raise InputError(msg)


def _foreign(path: Path) -> list[str]:
    """Names in a pickle that are more than data; empty where it is damaged."""
    try:
        return torch.serialization.get_unsafe_globals_in_checkpoint(path) or ["other objects"]
    except Exception:  # a file that is no pickle at all
        return []


def _trusted(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=False)
    except Exception as error:  # whatever the author's code raises
        told = " ".join(str(error).split())[:200]
        msg = f"{path} must be readable with the code it needs, got {type(error).__name__}: {told}. Install that code."
        raise InputError(msg) from error
