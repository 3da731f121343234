"""Attacked cases on disk: the table and the means made from their records."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from imaseg.auditing.attack_record import SCORES, AttackRecord
from imaseg.data.files import whole_file


def write_table(path: Path, records: Sequence[AttackRecord]) -> None:
    """One row per case and class."""
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(["case", "class", *(f"dice_{key}" for key in SCORES), "eps", "size", "unit"])
    for record in records:
        for kind, dice in record.dice.items():
            row = [record.case, kind, *(dice[key] for key in SCORES), record.eps, record.size, record.unit]
            table.writerow(row)
    with whole_file(path) as part:
        part.write_text(text.getvalue())


def summarise(records: Sequence[AttackRecord]) -> dict[str, Any]:
    """Means over cases, and which files do not hold what the attack found."""
    return {
        "dice": {
            kind: {key: statistics.fmean(record.dice[kind][key] for record in records) for key in SCORES}
            for kind in records[0].dice
        },
        "eps": {"median": statistics.median(record.eps for record in records), "unit": records[0].unit},
        "sizes": {
            unit: statistics.median(record.sizes[unit] for record in records)
            for unit in records[0].sizes
            if all(unit in record.sizes for record in records)
        },
        "free": statistics.median(record.free for record in records),
        "forward_calls": sum(record.forward_calls for record in records),
        "backward_calls": sum(record.backward_calls for record in records),
        "differ_in_the_file": {record.case: record.note for record in records if record.note},
    }
