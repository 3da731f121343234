"""What `--cases` may say besides names: one case in so many (`every:12`), or ids from a file (`@ids.txt`)."""

from __future__ import annotations

import re
from pathlib import Path

from imaseg.data.plain import read_text
from imaseg.errors import InputError

_EVERY = "every:"
_NUMBER = re.compile(r"[1-9]\d{0,8}")
_MOST_BYTES = 2**24
_THINNED = ", 1 in "


def step_of(wanted: str) -> int | None:
    """Of how many cases one is asked for; None where `wanted` asks for something else.

    >>> step_of("every:12"), step_of("val")
    (12, None)

    Raises:
        InputError: if no number follows.
    """
    if not wanted.startswith(_EVERY):
        return None
    number = wanted.removeprefix(_EVERY)
    if not _NUMBER.fullmatch(number):
        msg = f"--cases every:N must name a whole number from 1 on, got {wanted!r}. Write every:12 for one case in 12."
        raise InputError(msg)
    return int(number)


def ids_in(path: Path) -> list[str]:
    """Ids that a text file holds, one a line; empty lines count for nothing.

    Raises:
        InputError: if it cannot be read or holds none.
    """
    ids = [line.strip() for line in read_text(path, "text", most=_MOST_BYTES).split("\n") if line.strip()]
    if not ids:
        msg = f"{path} must hold the id of a case in each line, got none. Write one a line."
        raise InputError(msg)
    return ids


def thinned(selection: str, step: int) -> str:
    """How a selection is called of which one case in so many was taken."""
    return f"{selection}{_THINNED}{step}"


def whole(selection: str) -> tuple[str, str]:
    """The selection that was thinned, and by which number; that is empty where it was not.

    >>> whole(thinned("val", 12)), whole("val")
    (('val', '12'), ('val', ''))
    """
    head, _, step = selection.rpartition(_THINNED)
    return (head, step) if head else (selection, "")
