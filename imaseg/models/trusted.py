"""Imports code that comes with a checkpoint, only where the user has said that it may run."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from imaseg.errors import InputError

_IMPORTED: dict[str, str] = {}
"""Top-level modules imported by this file, with the folders that were searched for them."""


def require_trust(what: str, *, trust: bool) -> None:
    """Raise unless the user has said that code of the checkpoint may run.

    Raises:
        InputError: if `trust` is False; the message explains what trust means.
    """
    if not trust:
        msg = (
            f"{what} runs code that its author wrote, with all you may do on this machine. Read it, or know who made "
            "it; then add --trust (in Python: trust=True)."
        )
        raise InputError(msg)


def import_object(spec: str, *, folders: Sequence[Path], source: str) -> Any:
    """Import the object that `module:name` names, searching these folders first.

    Raises:
        InputError: if there is no such module or name, or its import fails.
    """
    module, colon, name = spec.rpartition(":")
    if not colon or not module or not name:
        msg = f"{source} must be module:name, got {spec!r}. With models.py in this folder write models:make."
        raise InputError(msg)
    with importable(folders):
        forget_other(module.partition(".")[0], folders)
        try:
            python_module = importlib.import_module(module)
        except Exception as error:  # whatever the author's code raises
            where = _named(folders)
            msg = f"{source} must name a module that can be imported from {where}, got {spec!r}: {_told(error)}."
            raise InputError(msg) from error
    if not hasattr(python_module, name):
        msg = f"{source} must name something in {module} ({python_module.__file__}), got {name!r}, which is not there."
        raise InputError(msg)
    return getattr(python_module, name)


def forget_other(root: str, folders: Sequence[Path]) -> None:
    """Forget an imported module of the same name from another folder, so that it is not mistaken for this one."""
    here = str([folder.resolve() for folder in folders])
    if _IMPORTED.get(root, here) != here:
        for name in [name for name in sys.modules if name == root or name.startswith(f"{root}.")]:
            del sys.modules[name]
    if root in _IMPORTED or root not in sys.modules:
        _IMPORTED[root] = here


def call_factory(make: Any, arguments: dict[str, Any], *, source: str) -> Any:
    """Call a factory or class of the user and return the result.

    Raises:
        InputError: if the call fails.
    """
    try:
        return make(**arguments)
    except Exception as error:  # whatever the author's code raises
        msg = f"{source} must be callable with {arguments or 'no arguments'}, got {_told(error)}."
        raise InputError(msg) from error


@contextmanager
def importable(folders: Sequence[Path]) -> Iterator[None]:
    """Context in which modules are searched in these folders first."""
    before = list(sys.path)
    sys.path[:0] = [str(folder.resolve()) for folder in folders]
    try:
        importlib.invalidate_caches()
        yield
    finally:
        sys.path[:] = before


def _named(folders: Sequence[Path]) -> str:
    return " or ".join(str(folder) for folder in folders)


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
