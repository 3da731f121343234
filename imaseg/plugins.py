"""Code from outside: what installed packages add by entry points, and local Python files that a user names."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import traceback
import warnings
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from imaseg.errors import InputError


class NameTakenError(InputError):
    """Two things of one kind have the same name."""


@cache
def plugins(group: str) -> dict[str, Any]:
    """Load what installed packages add to a group of entry points, once per process.

    A plug-in that cannot be imported is left out, and one warning names its package.

    Args:
        group: such as "imaseg.attacks".

    Returns:
        The objects that the entry points refer to, by the entry points' names.

    Raises:
        NameTakenError: if two packages bring the same name, or one brings a name that imaseg has itself.
    """
    from importlib.metadata import entry_points

    found: dict[str, Any] = {}
    packages: dict[str, str] = {}
    failed: dict[str, str] = {}
    for entry in entry_points(group=group):
        package = entry.dist.name if entry.dist is not None else entry.value
        if (other := packages.setdefault(entry.name, package)) != package:
            msg = f"name {entry.name!r} of {group} must come from one package, got {other} and {package}. Remove one."
            raise NameTakenError(msg)
        try:
            found[entry.name] = entry.load()
        except NameTakenError as error:
            msg = f"package {package}: {error}"
            raise NameTakenError(msg) from error
        except Exception as error:  # whatever somebody else's package does when it is imported
            failed[package] = " ".join(f"{type(error).__name__}: {error}".split())
    for package, why in failed.items():
        warnings.warn(f"package {package} must be importable to add to {group}, got {why}", stacklevel=2)
    return found


def import_trusted(paths: Iterable[str | Path], *, trust: bool, source: str = "") -> None:
    """Run Python files as `import_local` does, if the user trusts them.

    Args:
        paths: of the files.
        trust: whether they may be run.
        source: of their names, for the message.

    Raises:
        InputError: if there are any and they may not be run, or as `import_local`.
    """
    paths = list(paths)
    if paths and not trust:
        msg = (
            f"{source}imports must be trusted, got {', '.join(map(str, paths))}. They are Python code that may do "
            "anything a program can do; read them, then add --trust."
        )
        raise InputError(msg)
    import_local(paths)


def import_local(paths: Iterable[str | Path]) -> None:
    """Run Python files, so that the classes they define are known by name; a file that was run before is not run again.

    Each file becomes a module under a name of its own, which no installed package can have. It may do anything that a
    program can: run only what the user trusts.

    Args:
        paths: of the files.

    Raises:
        InputError: if a file is missing or fails; the message names file and line.
    """
    for path in map(Path, paths):
        if path.suffix == ".py" and not path.exists():
            msg = f"imports must be Python files (.py), got no such file: {path}. A plan's are relative to its folder."
            raise InputError(msg)
        if path.suffix != ".py" or not path.is_file():
            msg = f"imports must be Python files (.py), got {str(path)!r}, which is none. Check the path."
            raise InputError(msg)
        _run(path.resolve())


def _run(path: Path) -> None:
    name = f"imaseg_local_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if name in sys.modules or spec is None or spec.loader is None:
        return
    sys.modules[name] = module = importlib.util.module_from_spec(spec)  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        msg = f"{path}, line {_line(error, path)}: {type(error).__name__}: {error}"
        raise InputError(msg) from error


def _line(error: BaseException, path: Path) -> int | None:
    """Where in the file it went wrong: the innermost of its lines."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return error.lineno
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return lines[-1] if lines else None
