"""Writes the margins of all cases over the epochs as one CSV file with one row per case and epoch."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from imaseg.data.table_file import unescaped, write_table
from imaseg.errors import InputError
from imaseg.training import MarginTable

_FIELDS = ("epoch", "case", "margin", "visits", "broken")


def write_trajectories(path: Path, epoch: int, table: MarginTable) -> None:
    """Add the margins at the end of an epoch, atomically; rows of this and later epochs are replaced.

    Raises:
        InputError: if the file holds something else.

    Args:
        path: CSV file: epoch, case, margin, visits (in all epochs so far), broken (visits that broke the case).
        epoch: that has ended.
        table: margins and counts.
    """
    rows: list[dict[str, Any]] = []
    if path.is_file():
        try:
            with path.open(newline="", encoding="utf-8") as file:
                rows = [
                    row | {"case": unescaped(row["case"])} for row in csv.DictReader(file) if int(row["epoch"]) < epoch
                ]
        except (AttributeError, KeyError, TypeError, ValueError, csv.Error) as error:
            msg = f"{path} must be a table of margins, got a damaged one. Delete it to begin a new one."
            raise InputError(msg) from error
    for case, margin in sorted(table.margins.items()):
        visits, broken = table.counts.get(case, (0, 0))
        rows.append(dict(zip(_FIELDS, (epoch, case, margin, visits, broken), strict=True)))
    write_table(path, _FIELDS, rows)
