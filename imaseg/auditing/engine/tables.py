"""CSV files of an audit folder: the tidy `cases.csv`, and what probes write besides."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from imaseg.auditing.plan import Plan
from imaseg.data.table_file import write_table
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
            write_table(folder / name, list(rows[0]), rows)
