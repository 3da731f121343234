"""Load audit folders and refuse, in one sentence, what a page cannot be written from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from imaseg.errors import InputError
from imaseg.report.schema import Run, Summary

_Part = TypeVar("_Part", bound=BaseModel)
_VOXELS = ".voxel_margin.npz"


@dataclass(frozen=True)
class Audit:
    """One audit folder: its name on the page, its two JSON files, and where slices and voxel maps of a case lie."""

    name: str
    folder: Path
    summary: Summary
    run: Run
    slices: dict[str, Path]
    voxels: dict[str, Path]


def read_audits(folders: Sequence[Path]) -> list[Audit]:
    """Read audit folders, the reference first.

    Args:
        folders: what `imaseg audit` wrote, one or several.

    Returns:
        One `Audit` per folder in the same order. Where two models share a name the folders' names are used.

    Raises:
        InputError: if a folder has no `summary.json` or `run.json`, or one of them is malformed.
    """
    if not folders:
        msg = "folders must be at least one audit folder, got none. Name a folder that `imaseg audit` wrote."
        raise InputError(msg)
    folders = [Path(folder) for folder in folders]
    summaries = [load_part(folder, "summary.json", Summary) for folder in folders]
    runs = [load_part(folder, "run.json", Run) for folder in folders]
    names = _names(folders, [summary.model.name for summary in summaries])
    return [
        Audit(name, folder, summary, run, *_arrays(folder))
        for name, folder, summary, run in zip(names, folders, summaries, runs, strict=True)
    ]


def _arrays(folder: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """Where the slice of each case lies, and where its voxel margins."""
    files = sorted((folder / "cases").glob("*.npz"))
    voxels = {path.name.removesuffix(_VOXELS): path for path in files if path.name.endswith(_VOXELS)}
    return {path.stem: path for path in files if path not in voxels.values()}, voxels


def load_part(folder: Path, file: str, kind: type[_Part], *, writer: str = "imaseg audit") -> _Part:
    """One JSON file of a results folder.

    Args:
        folder: that `writer` wrote.
        file: its name below the folder.
        kind: what it must hold.
        writer: the command that writes such folders.

    Raises:
        InputError: if folder or file is missing, or the file does not hold that.
    """
    path, what = folder / file, writer.removeprefix("imaseg ")
    if not folder.is_dir():
        article = "an" if what[0] in "aeiou" else "a"
        msg = f"{folder} must be {article} {what} folder, got no such folder. Give a folder that `{writer}` wrote."
        raise InputError(msg)
    if not path.is_file():
        msg = (
            f"{path} must exist, got no such file. "
            f"Finish the {what} with `{writer} ... --resume`, or give a folder that it wrote."
        )
        raise InputError(msg)
    content = _parse(path, writer)
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(step) for step in first["loc"]) or "the file"
        got = "nothing" if first["type"] == "missing" else f"{first['input']!r:.60}"
        msg = f"{path} must be a complete {file}, got {got} at {where} ({first['msg']}). Run `{writer}` again."
        raise InputError(msg) from error


def _parse(path: Path, writer: str) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda _: None)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        msg = f"{path} must be readable JSON, got {error}. Run `{writer}` again."
        raise InputError(msg) from error


def _names(folders: list[Path], models: list[str]) -> list[str]:
    """Shortest naming under which every audit has its own name."""
    full = [folder.resolve() for folder in folders]
    last = [folder.name for folder in full]
    two = [f"{folder.parent.name}/{folder.name}" for folder in full]
    for names in (models, last, two):
        if len(set(names)) == len(names):
            return names
    return [f"{name} ({place})" for place, name in enumerate(models, start=1)]
