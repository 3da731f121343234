"""Read an audit folder as objects, and refuse in one sentence what is not one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from imaseg.data.cases import names_file
from imaseg.data.plain import parse_json, read_text
from imaseg.errors import InputError
from imaseg.results.base import FORMAT, MISSING_PLUGIN, Record, Row, score_lines
from imaseg.results.case import CaseRecord
from imaseg.results.run import Run
from imaseg.results.summary import Summary
from imaseg.validated import first_mistake

_Record = TypeVar("_Record", bound=Record)
_MOST_BYTES = 2**28
_WRITERS = "`imaseg audit`, `attack` or `margin`"


@dataclass(frozen=True)
class Audit:
    """What `imaseg audit`, `imaseg attack` or `imaseg margin` wrote into a folder.

    Attributes:
        folder: where it lies.
        summary: the numbers.
        run: how they were made.
    """

    folder: Path
    summary: Summary
    run: Run

    @cached_property
    def cases(self) -> list[CaseRecord]:
        """The cases that the summary counts, in its order.

        Raises:
            InputError: if the file of a case is missing or malformed.
        """
        return [read_case(self.folder, one.case) for one in self.summary.metric_per_case]

    def table(self) -> list[dict[str, Any]]:
        """One row per case, probe, budget, class and metric: `pandas.DataFrame(audit.table())`."""
        return [line for record in self.cases for line in case_table(record)]


def load(folder: str | Path) -> Audit:
    """Read an audit.

    Args:
        folder: that `imaseg audit`, `imaseg attack` or `imaseg margin` wrote.

    Returns:
        Summary, run and cases as objects, `table()` as rows for a data frame.

    Raises:
        InputError: if `summary.json` or `run.json` is missing, malformed or of another version's form.
    """
    folder = Path(folder)
    if not folder.is_dir():
        msg = f"{folder} must be an audit folder, got no such folder. Give a folder that {_WRITERS} wrote."
        raise InputError(msg)
    return Audit(folder, read_record(folder / "summary.json", Summary), read_record(folder / "run.json", Run))


def read_record(path: Path, kind: type[_Record]) -> _Record:
    """One JSON file of an audit folder.

    Raises:
        InputError: if the file is missing, no JSON, of another version's form, or does not hold that record.
    """
    if not path.is_file():
        way = _remedy(path).rstrip(".") if path.name == "run.json" else "Finish the run with --resume"
        msg = f"{path} must exist, got no such file. {way}, or give a folder that {_WRITERS} wrote."
        raise InputError(msg)
    try:
        text = read_text(path, "JSON", most=_MOST_BYTES)
        content = parse_json(text)
    except (ValueError, RecursionError) as error:
        told = str(error) if isinstance(error, InputError) else f"{path} must be readable JSON, got {error}."
        msg = f"{told} {_remedy(path)}"
        raise InputError(msg) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        written = content.get("imaseg") if isinstance(content, dict) else None
        msg = (
            f"{path} must be of results format {FORMAT}, got one of another version"
            f"{f' (imaseg {written})' if written else ''}. Run the audit again into a new folder, or read it with the "
            "version of imaseg that wrote it."
        )
        raise InputError(msg)
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        mistake = first_mistake(error)
        way = "" if MISSING_PLUGIN in mistake else f" {_remedy(path)}"
        msg = f"{path} must be a complete {path.name}, {mistake}.{way}"
        raise InputError(msg) from error


def read_case(folder: Path, case: str) -> CaseRecord:
    """The record of a case in an audit folder.

    Raises:
        InputError: as in `read_record`, or if the file holds another case.
    """
    if not names_file(case):
        msg = f"case ids of {folder} must name files in its folder cases, got {case!r:.300}. Name one that it lists."
        raise InputError(msg)
    path = folder / "cases" / f"{case}.json"
    record = read_record(path, CaseRecord)
    if record.case != case:
        msg = f"{path} must be of case {case}, got {record.case}. {_remedy(path)}"
        raise InputError(msg)
    return record


def _remedy(path: Path) -> str:
    """How to get a file of an audit folder back."""
    if path.name == "run.json":  # without it nobody knows what to go on with
        return "Run the audit again into a new folder."
    return "Delete it and run the same command with --resume."


def _called(row: Row, case: str) -> str:
    """Name of a row in tables; of a change that was fitted on this very case with that said."""
    name = str(getattr(row, "corruption", row.probe))
    return f"{name}-fitted" if case in getattr(row, "fitted_on", ()) else name


def case_table(record: CaseRecord) -> list[dict[str, Any]]:
    """Rows of `cases.csv` of one case."""
    lines: list[tuple[Any, ...]] = [("clean", *line) for line in score_lines(0.0, record.clean)]
    # Corruptions stand under their own names, all else under that of the probe.
    lines += [(_called(row, record.case), *line) for row in record.rows for line in row.table()]
    lines += [("clean", 0.0, kind, "reference_volume", volume) for kind, volume in record.volumes.items()]
    lines += [("truth", *line) for line in score_lines(0.0, record.truth)]
    keys = ("case", "probe", "eps", "class", "metric", "value")
    return [dict(zip(keys, (record.case, *line), strict=True)) for line in lines]
