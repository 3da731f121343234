"""Files that ship beside the code: training and audit plans (`configs/`) and recipes (`data_prep/`)."""

from __future__ import annotations

from pathlib import Path

from imaseg.errors import InputError

_PACKAGE = Path(__file__).resolve().parents[1]
_ROOTS = (_PACKAGE / "_resources", _PACKAGE.parent)
"""Folders to look in: inside the package if installed from a wheel, beside it in a checkout."""


def resource(name: str) -> Path:
    """Path of a shipped file, e.g. `resource("data_prep/msd.yaml")`.

    Raises:
        InputError: if no such file ships; the message lists those that do.
    """
    for root in _ROOTS:
        if (root / name).is_file():
            return root / name
    folder, _, file = name.rpartition("/")
    choices = ", ".join(resource_names(folder)) or "none"
    msg = f"{folder or 'resource'} must be one of those that ship ({choices}), got {Path(file).stem!r}."
    raise InputError(msg)


def resource_names(folder: str, suffix: str = ".yaml") -> list[str]:
    """Names of the shipped files of a folder, without suffix.

    >>> "msd" in resource_names("data_prep")
    True
    """
    names = {p.stem for root in _ROOTS if (root / folder).is_dir() for p in (root / folder).glob(f"*{suffix}")}
    return sorted(names)
