"""Writes the margins of all cases over the epochs as one CSV file with one row per case and epoch."""

from __future__ import annotations

import csv
from pathlib import Path

from imaseg.data.files import whole_file
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
    rows = []
    if path.is_file():
        try:
            with path.open(newline="") as file:
                rows = [row for row in csv.DictReader(file) if int(row["epoch"]) < epoch]
        except (KeyError, TypeError, ValueError, csv.Error) as error:
            msg = f"{path} must be a table of margins, got a damaged one. Delete it to begin a new one."
            raise InputError(msg) from error
    with whole_file(path) as part, part.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=_FIELDS)
        writer.writeheader()
        writer.writerows(rows)
        for case, margin in sorted(table.margins.items()):
            visits, broken = table.counts.get(case, (0, 0))
            values = (epoch, case, margin, visits, broken)
            writer.writerow(dict(zip(_FIELDS, values, strict=True)))
