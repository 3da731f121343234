"""Margins of many cases: the tables, and what `margins.json` says of each set and structure."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from imaseg.auditing.margin_record import MarginRecord, Row
from imaseg.data.files import whole_file
from imaseg.statistics import bootstrap

_COLUMNS = (
    "case", "perturbation", "unit", "structure", "margin", "censored", "confirmed", "clean_dice", "volume_ml",
    "forward_calls", "backward_calls",
)  # fmt: skip
_RANGE_UNITS = ("rms", "max")
_COUNTS = ("voxels", "violations")
_FEWEST = 5
"""Cases below which an interval would say nothing."""


def write_margins(path: Path, records: Sequence[MarginRecord]) -> None:
    """One row per case, set and structure; cells without a value are empty."""
    rows = [
        {"case": record.case, **vars(row), **vars(record.structures[row.structure])}
        for record in records
        for row in record.rows
    ]
    write_rows(path, _COLUMNS, rows)


def write_rows(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """A CSV file with these columns, whole or not at all; None is an empty cell."""
    text = io.StringIO()
    table = csv.DictWriter(text, columns, extrasaction="ignore")
    table.writeheader()
    table.writerows(rows)
    with whole_file(path) as part:
        part.write_text(text.getvalue())


def summarise(records: Sequence[MarginRecord]) -> list[dict[str, Any]]:
    """One entry per set and structure, in the order of the records."""
    keys = dict.fromkeys((row.perturbation, row.unit, row.structure) for record in records for row in record.rows)
    return [_entry(records, *key) for key in keys]


def _entry(records: Sequence[MarginRecord], perturbation: str, unit: str, structure: str) -> dict[str, Any]:
    found = [
        (record, row)
        for record in records
        for row in record.rows
        if (row.perturbation, row.unit, row.structure) == (perturbation, unit, structure)
    ]
    known = [(record, row) for record, row in found if row.margin is not None]
    rows = [row for _, row in known]
    tested = [row.confirmed for row in rows if row.confirmed is not None]
    margins = [row.margin for row in rows if row.margin is not None]
    return {
        "perturbation": perturbation,
        "unit": unit,
        "structure": structure,
        "eps": max(row.eps for _, row in found),
        "n": len(rows),
        "absent": len(found) - len(rows),
        **quartiles(rows),
        "median_ci95": bootstrap(margins, median=True) if len(margins) >= _FEWEST else None,
        "median_share_of_range": _share_of_range(known) if unit in _RANGE_UNITS else None,
        "censored": sum(row.censored for row in rows),
        "clean_failures": sum(row.margin == 0 for row in rows),
        "held": sum(tested),
        "tested": len(tested),
    }


def quartiles(rows: Sequence[Row]) -> dict[str, Any]:
    """Median and quartiles of margins that are known, and which of them are lower bounds.

    A censored margin is known to lie above its ceiling, so a quantile that rests on one, or on a margin above a
    ceiling that another case survived, lies at or above the number given.
    """
    margins = np.sort([row.margin for row in rows])
    ends = np.array([row.margin for row in rows if row.censored])
    found: dict[str, Any] = {}
    for name, share in (("q25", 0.25), ("median", 0.5), ("q75", 0.75)):
        if not len(margins):
            found |= {name: None, f"{name}_at_least": False}
            continue
        upper = margins[int(np.ceil(share * (len(margins) - 1)))]
        found |= {name: float(np.quantile(margins, share)), f"{name}_at_least": bool((ends <= upper).any())}
    return found


def _share_of_range(known: Sequence[tuple[MarginRecord, Row]]) -> float | None:
    """Median margin as a share of each case's range of intensities."""
    shares = [row.margin / record.span for record, row in known if row.margin is not None and record.span > 0]
    return float(np.median(shares)) if shares else None


def voxel_rows(records: Sequence[MarginRecord]) -> list[dict[str, Any]]:
    """Rows of `voxel_margins.csv`."""
    return [{"case": record.case, **row} for record in records for row in record.voxel]


def summarise_maps(records: Sequence[MarginRecord]) -> list[dict[str, Any]]:
    """How maps compare with what attacks found, by set, method and place: medians over cases of what holds in each."""
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for note in (note for record in records for note in record.maps):
        for where, compared in note.get("against_attack", {}).items():
            groups.setdefault((note["perturbation"], note["method"], where), []).append(compared)
    return [
        {"perturbation": kind, "method": method, "where": where, "cases": len(each), **_middle(each)}
        for (kind, method, where), each in groups.items()
    ]


def _middle(each: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Sums of counts, medians of all else."""
    found: dict[str, Any] = {}
    for key in each[0]:
        known = [one[key] for one in each if one[key] is not None]
        found[key] = sum(known) if key in _COUNTS else float(np.median(known)) if known else None
    return found
