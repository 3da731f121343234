"""Reads files that `torch.save` wrote as data, after a look at what they claim: nothing in them is executed.

A pickle of a few bytes can ask for any amount of memory, and an archive can claim more than it holds.
"""

from __future__ import annotations

import itertools
import pickle
import pickletools
import zipfile
from collections.abc import Mapping
from encodings import aliases, normalize_encoding
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from imaseg.errors import InputError

_END = b"PK\x05\x06"
_MOST_LISTED = 2**23
"""Bytes of an archive's table of contents: about 100,000 records."""
_MOST_STEPS = 200_000
"""Steps of a pickle: a network of a thousand tensors, with its optimiser, takes 50,000."""
_PICKLES = 5
"""Pickles at the start of a file in the form that PyTorch wrote before 1.6."""
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
            for name in archive.namelist():
                if name.endswith("/data.pkl"):
                    with archive.open(name) as stream:
                        _check_pickle(stream, path)
    return True


def _check_listing(file: IO[bytes], path: Path) -> None:
    """Look at the size of the table of contents before it is read."""
    size = path.stat().st_size
    file.seek(max(0, size - 2**16))
    end = file.read()
    at = end.rfind(_END)
    listed = int.from_bytes(end[at + 12 : at + 16], "little")
    if at < 0 or listed > min(size, _MOST_LISTED):
        _refuse(path, "no table of contents" if at < 0 else f"a table of contents of {listed} bytes")
    file.seek(0)


def _check_records(records: list[zipfile.ZipInfo], path: Path) -> None:
    if any(".." in Path(record.filename).parts or record.filename.startswith(("/", "\\")) for record in records):
        _refuse(path, "records that lead out of it")
    if any(record.compress_type != zipfile.ZIP_STORED for record in records):
        _refuse(path, "compressed records, which PyTorch does not write")
    claimed = sum(record.file_size for record in records)
    if claimed > path.stat().st_size:
        _refuse(path, f"records of {claimed} bytes in {path.stat().st_size}")


def _check_pickle(stream: IO[bytes], path: Path) -> None:
    """Look through one pickle without following it."""
    names, texts = set(), set()
    for step, value, _ in itertools.islice(pickletools.genops(stream), _MOST_STEPS):
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
