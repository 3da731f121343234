"""What `--cases` may say besides names: one case in so many (`every:12+5`), or ids from a file (`@ids.txt`)."""

from __future__ import annotations

import re
from pathlib import Path

from imaseg.data.plain import read_text
from imaseg.errors import InputError

_EVERY = "every:"
_NUMBER = re.compile(r"[1-9]\d{0,8}")
_MOST_BYTES = 2**24
_THINNED = ", 1 in "


def step_of(wanted: str) -> slice | None:
    """Which of the cases are asked for, one in so many; None where `wanted` asks for something else.

    >>> step_of("every:12"), step_of("every:12+5"), step_of("val")
    (slice(0, None, 12), slice(5, None, 12), None)

    Raises:
        InputError: if no number follows.
    """
    if not wanted.startswith(_EVERY):
        return None
    number, plus, start = wanted.removeprefix(_EVERY).partition("+")
    if not _NUMBER.fullmatch(number) or (plus and not re.fullmatch(r"\d{1,9}", start, re.ASCII)):
        msg = (
            f"--cases every:N must name a whole number from 1 on, got {wanted!r}. Write every:12 for one case in 12, "
            "or every:12+5 for the same after leaving out 5."
        )
        raise InputError(msg)
    return slice(int(start or 0), None, int(number))


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


def thinned(selection: str, step: slice) -> str:
    """How a selection is called of which one case in so many was taken."""
    return f"{selection}{_THINNED}{step.step}" + (f" after the first {step.start}" if step.start else "")


def whole(selection: str) -> tuple[str, str]:
    """The selection that was thinned, and by which number; that is empty where it was not.

    >>> whole(thinned("val", slice(5, None, 12))), whole("val")
    (('val', '12 after the first 5'), ('val', ''))
    """
    head, _, step = selection.rpartition(_THINNED)
    return (head, step) if head else (selection, "")
