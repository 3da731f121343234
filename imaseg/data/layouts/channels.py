"""Which files are channels of one case: names that end in `_0000`, `_0001` ... as nnU-Net writes them.

Four digits at the end of a name may also number patients or visits. They are channels where the labels lack them, where
`dataset.json` says so, or where the numbers of most names begin at 0000 and repeat from name to name.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from imaseg.data.files import is_picture, stem
from imaseg.errors import InputError

CHANNEL = re.compile(r"^(?P<id>.+)_(?P<channel>\d{4})$")
"""File names of nnU-Net, which end in the number of the channel."""


def split_name(name: str) -> tuple[str, int | None]:
    """Id and channel number of a stem; no number where there is none.

    >>> split_name("liver_12_0001"), split_name("liver_12")
    (('liver_12', 1), ('liver_12', None))
    """
    match = CHANNEL.match(name)
    return (match["id"], int(match["channel"])) if match else (name, None)


def numbers_are_channels(paths: Sequence[Path], labels: Collection[str], *, declared: bool) -> bool:
    """Whether four digits at the ends of names are numbers of channels.

    Args:
        paths: image files of a folder.
        labels: stems of the label files.
        declared: whether a `dataset.json` of nnU-Net lies beside them.

    Raises:
        InputError: if they may be channels of the only case as well as cases.
    """
    numbers: dict[str, set[int]] = {}
    own = 0
    for path in paths:
        name, number = split_name(stem(path))
        if number is not None:
            numbers.setdefault(name, set()).add(number)
            own += stem(path) in labels
    without = sum(name in labels for name in numbers)
    if own or without:
        return without > own
    if declared or len(paths) == 1:
        return True
    from_zero = [name for name, found in numbers.items() if 0 in found]
    if len(numbers) == 1 and from_zero:
        folder = paths[0].parent
        msg = (
            f"{folder} must tell channels from cases, got {len(paths)} files called {from_zero[0]}_NUMBER and no "
            "label. Name the channels in a dataset.json (channel_names), or the files in a recipe's layout."
        )
        raise InputError(msg)
    return 2 * len(from_zero) > len(numbers)


def expected_numbers(groups: Mapping[str, Sequence[Path]], declared: int | None) -> range:
    """Channel numbers that each case must have: those declared, else from 0000 to the last that most cases have.

    A colour picture holds all declared channels in one file.
    """
    numbered = (_numbers(name, paths) for name, paths in groups.items())
    found = Counter(tuple(sorted(numbers)) for numbers in numbered if numbers)
    if not found:
        return range(0)
    pictures = all(is_picture(path) for paths in groups.values() for path in paths)
    if declared and not (pictures and set(found) == {(0,)}):
        return range(declared)
    return range(found.most_common(1)[0][0][-1] + 1)


def checked_channels(name: str, paths: Sequence[Path], expected: range) -> tuple[tuple[Path, ...], str]:
    """Channel files of a case with the paths that missing ones should have, and a sentence if there are others."""
    by_number = _numbers(name, paths)
    if not by_number or not expected:
        return tuple(paths), ""
    first = paths[0]
    suffix = first.name.removeprefix(stem(first))
    wanted = [by_number.get(i) or first.with_name(f"{name}_{i:04d}{suffix}") for i in expected]
    surplus = [path.name for number, path in by_number.items() if number not in expected]
    if not surplus:
        return tuple(wanted), ""
    numbers = f"0000 to {expected[-1]:04d}" if len(expected) > 1 else "0000 only"
    got = ", ".join(surplus)
    fault = (
        f"{name} must have the channels that dataset.json declares or else most cases have ({numbers}), got {got}. "
        "Correct dataset.json or the names."
    )
    return tuple(paths), fault


def _numbers(name: str, paths: Sequence[Path]) -> dict[int, Path]:
    """Channel files of a case by their number; empty if its digits are part of its id."""
    parts = ((*split_name(stem(path)), path) for path in paths)
    return {number: path for base, number, path in parts if number is not None and base == name}
