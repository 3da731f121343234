"""Names of structures: their label values, and which of a file are wanted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from imaseg.errors import InputError


def numbered(names: Iterable[str]) -> dict[str, int]:
    """Label value of every spelling of a name, in the order of their first appearance.

    >>> numbered(["GTV", "Lung L", "gtv "])
    {'GTV': 1, 'Lung L': 2, 'gtv ': 1}
    """
    by_letters: dict[str, int] = {}
    return {name: by_letters.setdefault(letters(name), len(by_letters) + 1) for name in names}


def first_spellings(values: Mapping[str, int]) -> dict[int, str]:
    """Name by value; the first spelling stands for all."""
    names: dict[int, str] = {}
    for name, value in values.items():
        names.setdefault(value, name)
    return dict(sorted(names.items()))


def letters(name: str) -> str:
    """A name without what people write now one way, now another: case and blanks.

    >>> letters("Lung L "), letters("lungL")
    ('lungl', 'lungl')
    """
    return "".join(name.split()).casefold()


def chosen_structures(path: Path, names: Sequence[str], values: Mapping[str, int]) -> dict[str, int]:
    """Label value of each wanted name of a file; a name matches as it is spelled, else without case and blanks.

    Args:
        path: of the file, for errors.
        names: of its structures.
        values: label value by wanted name.

    Raises:
        InputError: if names that differ by case or blanks only match one value.
    """
    loosely = {letters(name): value for name, value in values.items()}
    spellings: dict[int, list[str]] = {}
    for name in dict.fromkeys(names):
        value = values.get(name, loosely.get(letters(name)))
        if value is not None:
            spellings.setdefault(value, []).append(name)
    chosen = {}
    for value, found in spellings.items():
        best = [name for name in found if name in values] or found
        if len(best) > 1:
            got = " and ".join(map(repr, best))
            msg = (
                f"{path} must hold structures whose names differ by more than case and blanks, got {got}. Rename one, "
                f"or name the one to take in a --config file, such as labels: {{{value}: {best[0]!r}}}."
            )
            raise InputError(msg)
        chosen[best[0]] = value
    return chosen
