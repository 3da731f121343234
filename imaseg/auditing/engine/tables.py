"""CSV files of an audit folder: the tidy `cases.csv`, and what probes write besides."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from imaseg.auditing.plan import Plan
from imaseg.data.files import whole_file
from imaseg.results import CaseRecord, Summary
from imaseg.results.load import case_table


def write_tables(folder: Path, plan: Plan, records: Sequence[CaseRecord], summary: Summary) -> None:
    """Write every table, each whole or not at all."""
    lines = {"cases.csv": [line for record in records for line in case_table(record)]}
    labels = {int(k): name for k, name in summary.data.labels.items()}
    for probe in plan.probes:
        for name, more in probe.tables(records, labels).items():
            lines.setdefault(name, []).extend(more)
    for name, rows in lines.items():
        if rows:
            _write_csv(folder / name, rows)


def _write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """A CSV file with the columns of the first row, whole or not at all; None is an empty cell."""
    with whole_file(path) as part, part.open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
