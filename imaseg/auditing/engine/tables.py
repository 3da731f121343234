"""CSV files of an audit folder: the tidy `cases.csv`, and what probes write besides."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from imaseg.auditing.plan import Plan
from imaseg.data.files import whole_file
from imaseg.results import CaseRecord, Summary
from imaseg.results.load import case_table

_COLUMNS = ("case", "probe", "eps", "class", "metric", "value")


def write_tables(folder: Path, plan: Plan, records: Sequence[CaseRecord], summary: Summary) -> None:
    """Write every table, each whole or not at all."""
    lines = {"cases.csv": [line for record in records for line in case_table(record)]}
    labels = {int(k): name for k, name in summary.data.labels.items()}
    for probe in plan.probes:
        for name, more in probe.tables(records, labels).items():
            lines.setdefault(name, []).extend(more)
    for name, rows in lines.items():
        if not rows:
            continue
        write_csv(folder / name, _COLUMNS if name == "cases.csv" else list(rows[0]), rows)


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """A CSV file with these columns, whole or not at all; None is an empty cell."""
    text = io.StringIO()
    table = csv.DictWriter(text, columns)
    table.writeheader()
    table.writerows(rows)
    with whole_file(path) as part:
        part.write_text(text.getvalue())
