"""`comparison.csv`: paired differences of each audit from the first, for statistics of one's own."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from imaseg.data.files import whole_file
from imaseg.report.audits import read_audits
from imaseg.report.differences import paired_rows

_COLUMNS = (
    "a", "b", "probe", "eps", "unit", "metric", "mean_a", "mean_b", "difference", "ci95_low", "ci95_high", "n", "p",
)  # fmt: skip


def write_comparison(folders: Sequence[Path], path: Path) -> Path:
    """Write what `imaseg.statistics.paired` finds: a is the first audit, b each of the others.

    Args:
        folders: audit folders, the reference first.
        path: the CSV file to write.

    Returns:
        `path`.

    Raises:
        InputError: as `read_audits`.
    """
    text = io.StringIO()
    table = csv.DictWriter(text, _COLUMNS, extrasaction="ignore")
    table.writeheader()
    for row in paired_rows(read_audits(folders)):
        low, high = row["ci95"] or (None, None)
        table.writerow({**row, "ci95_low": low, "ci95_high": high})
    with whole_file(path) as part:
        part.write_text(text.getvalue(), encoding="utf-8")
    return path
