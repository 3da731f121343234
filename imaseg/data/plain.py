"""Reads text and JSON files of unknown origin: of limited size, depth and length of numbers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from imaseg.errors import InputError

LONGEST_NUMBER = 20
"""Characters of a whole number: up to here it fits 64 bits, and Python neither takes long over it nor refuses it."""
MOST_BYTES = 32 * 2**20
"""Size of a JSON file. Values take up to thirty times the memory of their text."""
_DEEPEST = 50
_LARGEST = 1e100
"""Sums and products of a few such numbers are still finite."""


def read_text(path: Path, what: str, *, most: int) -> str:
    """Read a text file.

    Args:
        path: the file.
        what: form of the text, for messages.
        most: bytes that it may have.

    Raises:
        InputError: if it cannot be read, is no file, is larger, or is no UTF-8.
    """
    try:
        if path.is_file() and path.stat().st_size > most:
            msg = f"{path} must be a {what} file of {most // 2**20} MB at most, got {path.stat().st_size // 2**20} MB."
            raise InputError(msg)
        if path.exists() and not path.is_file():  # a pipe would be waited for, a device never ends
            msg = f"{path} must be a {what} file, got {'a folder' if path.is_dir() else 'no regular file'}."
            raise InputError(msg)
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        msg = f"{path} must be a readable {what} file, got {error.strerror or error}."
        raise InputError(msg) from error
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        msg = f"{path} must be a {what} file in UTF-8, got other bytes ({error}). Save it as UTF-8."
        raise InputError(msg) from error


def read_any_json(path: Path) -> Any:
    """Read a JSON file, whatever it holds.

    Raises:
        InputError: if it cannot be read, is too large, no JSON, nested too deep, or holds a number beyond 64 bits.
    """
    try:
        return parse_json(read_text(path, "JSON", most=MOST_BYTES))
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        msg = f"{path} must be valid JSON, got {error}. Correct that line."
        raise InputError(msg) from error


def parse_json(text: str) -> Any:
    """The plain data that a text in JSON stands for.

    Raises:
        ValueError, RecursionError: if it is no JSON, nested too deep, or holds a number beyond 64 bits or 1e100.
    """
    content = json.loads(text, parse_int=_whole, parse_float=_real)
    if not _shallow(content):
        msg = f"lists in lists more than {_DEEPEST} deep"
        raise ValueError(msg)
    return content


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        InputError: as `read_any_json`, or if the file holds something else than an object.
    """
    content = read_any_json(path)
    if not isinstance(content, dict):
        msg = f"{path} must hold a JSON object {{...}}, got {type(content).__name__}."
        raise InputError(msg)
    return content


def is_number(text: str) -> bool:
    """Whether a key is digits, and no more of them than Python turns into a number.

    >>> is_number("12"), is_number("x"), is_number(5000 * "9")
    (True, False, False)
    """
    return text.isdecimal() and len(text) <= LONGEST_NUMBER


def is_plain(content: Any, *, most: int = 10_000) -> bool:
    """Whether it is plain data, and little of it: what was unpickled may hold itself, or one list many times over."""
    waiting = [(content, 0)]
    seen = 0
    while waiting:
        value, depth = waiting.pop()
        seen += 1
        inside = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else ()
        if seen + len(waiting) + len(inside) > most or depth > _DEEPEST:
            return False
        if not (value is None or isinstance(value, dict | list | str | bool | int | float)):
            return False
        waiting += [(part, depth + 1) for part in inside]
    return True


def _whole(digits: str) -> int:
    if len(digits) > LONGEST_NUMBER:
        msg = f"a number of {len(digits)} digits"
        raise ValueError(msg)
    return int(digits)


def _real(digits: str) -> float:
    value = float(digits)
    if abs(value) > _LARGEST:
        msg = f"a number beyond {_LARGEST:g}: {digits:.80}"
        raise ValueError(msg)
    return value


def _shallow(content: Any) -> bool:
    """Whether nothing is nested deeper than what code that walks through it by recursion can take."""
    level = [content]
    for _ in range(_DEEPEST):
        level = [part for one in level for part in _parts(one)]
        if not level:
            return True
    return False


def _parts(value: Any) -> Iterator[Any]:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return (part for part in inside if isinstance(part, dict | list))
