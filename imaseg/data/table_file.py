"""Writes tables as CSV whose names a spreadsheet shows and does not run as formulas."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from imaseg.data.files import write_text

_RUN = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001
"""What a cell begins with that spreadsheets take for a formula."""
_SHOWN = "'"
"""Put before it, makes it text."""


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a CSV file, whole or not at all; None is an empty cell.

    Text that a spreadsheet would run begins with an apostrophe; `unescaped` takes it away. Numbers are left alone.
    """
    text = io.StringIO()
    table = csv.DictWriter(text, columns)
    table.writeheader()
    table.writerows({name: escaped(value) for name, value in row.items()} for row in rows)
    write_text(path, text.getvalue())


def escaped(cell: Any) -> Any:
    """A cell as it is written.

    >>> escaped("=1+1"), escaped("case_1"), escaped(-1.5)
    ("'=1+1", 'case_1', -1.5)
    """
    return f"{_SHOWN}{cell}" if isinstance(cell, str) and cell.startswith((*_RUN, _SHOWN)) else cell


def unescaped(cell: str) -> str:
    """The text of a cell that `write_table` wrote.

    >>> unescaped("'=1+1"), unescaped(escaped("'a")), unescaped("'a")
    ('=1+1', "'a", "'a")
    """
    return cell[1:] if cell.startswith(tuple(_SHOWN + start for start in (*_RUN, _SHOWN))) else cell
