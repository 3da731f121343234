"""Symbolic links that would lead a description or a header of somebody else's to files elsewhere on this machine."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from imaseg.data.cases import Case
from imaseg.errors import InputError

_DETACHED = (".mhd", ".nhdr")
_NAMED = 3
"""Most folders that a warning names."""


def listed_inside(root: Path, cases: Iterable[Case]) -> list[Case]:
    """Cases of a list of paths; one with a file that is a link out of its folder has a fault that says so."""
    return [_inside(root, case, lambda case: case.files) for case in cases]


def tell_outside(root: Path, cases: Iterable[Case]) -> None:
    """Warn of files that a list of paths takes from elsewhere: it may name any image on this machine."""
    inside = os.path.normpath(root.absolute())
    paths = {Path(os.path.normpath(path.absolute())) for case in cases for path in case.files}
    outside = sorted({str(path.parent) for path in paths if not _is_below(str(path), inside)})
    if outside:
        named = ", ".join(outside[:_NAMED]) + (" and others" if len(outside) > _NAMED else "")
        warnings.warn(
            f"{root / 'dataset.json'} lists files outside of its folder: in {named}. Go on only if they are meant to "
            "be read.",
            stacklevel=2,
        )


def voxels_inside(root: Path, cases: Iterable[Case]) -> list[Case]:
    """The same for the voxel files that headers (`.mhd`, `.nhdr`) name."""
    return [_inside(root, case, _voxels) for case in cases]


def _voxels(case: Case) -> list[Path]:
    headers = [path for path in case.files if path.name.lower().endswith(_DETACHED) and path.is_file()]
    if not headers:
        return []
    from imaseg.data.formats.itk_header import voxel_files

    found: list[Path] = []
    for path in headers:
        with contextlib.suppress(InputError, OSError):  # reading it says what is wrong
            found += voxel_files(path)
    return found


def _inside(root: Path, case: Case, files_of: Callable[[Case], Iterable[Path]]) -> Case:
    for path in files_of(case) if not case.fault else ():
        folder = (
            root if _is_below(os.path.normpath(path.absolute()), os.path.normpath(root.absolute())) else path.parent
        )
        real = os.path.realpath(path)
        if not _is_below(real, os.path.realpath(folder)):
            fault = (
                f"{path} must lie in {folder}, got a link to {real}. Copy the file there, or pass --follow-links "
                "(follow_links=True) if whoever made this folder may have imaseg read files anywhere on this machine."
            )
            return replace(case, fault=fault)
    return case


def _is_below(path: str, folder: str) -> bool:
    return os.path.commonpath([path, folder]) == folder
