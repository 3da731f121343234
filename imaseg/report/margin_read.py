"""Load a margin folder and refuse, in one sentence, what a page cannot be written from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from imaseg.report.margin_schema import CaseMargins, MarginRun
from imaseg.report.read import load_part

_WRITER = "imaseg margin"


@dataclass(frozen=True)
class Margins:
    """A margin folder: the run, its cases by id, and where the slices of a case's voxel maps lie."""

    folder: Path
    run: MarginRun
    cases: list[CaseMargins]
    views: dict[str, Path]


def read_margins(folder: Path) -> Margins:
    """Read what `imaseg margin` wrote.

    Raises:
        InputError: if `margins.json` or the file of a case is missing or malformed.
    """
    folder = Path(folder)
    run = load_part(folder, "margins.json", MarginRun, writer=_WRITER)
    files = sorted((folder / "cases").glob("*.json"))
    cases = [load_part(folder, f"cases/{path.name}", CaseMargins, writer=_WRITER) for path in files]
    return Margins(folder, run, cases, {path.stem: path for path in sorted((folder / "cases").glob("*.npz"))})
