"""A table of the cases (`--groups`): a column `case`, and any others by whose values results are grouped."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from imaseg.data.plain import read_text
from imaseg.data.splitting import MOST_BYTES
from imaseg.data.table_file import unescaped
from imaseg.errors import InputError
from imaseg.progress import counted

NOT_STATED = "not stated"
_MOST_NUMBERS = 6
"""Columns of more different numbers are cut into thirds."""
_MISSING = ("na", "n/a", "nan")
"""What programs write where there is no number."""
Grouped = dict[str, dict[str, str]]
"""Group by column and case."""


def read_groups(path: Path, cases: Sequence[str]) -> Grouped:
    """Group of every case in every column; numbers of many values are cut into thirds of about as many cases.

    Args:
        path: CSV file with the column `case` and at least one other.
        cases: ids that are grouped; rows of others are left out, and a case without a row is `NOT_STATED`.

    Raises:
        InputError: if it cannot be read, holds none of the cases or one twice, or a column has a value of its own for
            most cases, as names and dates of birth do.
    """
    rows = _rows(path)
    known = {case: rows[case] for case in cases if case in rows}
    if not known:
        msg = f"{path} must hold cases that are audited ({cases[0]}, ...) in its column case, got none of them."
        raise InputError(msg)
    columns = [column for column in next(iter(known.values())) if column != "case"]
    values = {column: {case: known.get(case, {}).get(column, "") for case in cases} for column in columns}
    return {column: _grouped(path, column, of) for column, of in values.items()}


def _rows(path: Path) -> dict[str, dict[str, str]]:
    try:
        reader = csv.DictReader(io.StringIO(read_text(path, "CSV", most=MOST_BYTES), newline=""))
        columns = list(reader.fieldnames or ())
        if "case" not in columns or len(columns) < 2 or len({*columns}) < len(columns) or not all(columns):
            got = ", ".join(columns) or "none"
            msg = (
                f"{path} must have the column case and others, each with a name of its own and separated by commas, "
                f"got {got}."
            )
            raise InputError(msg)
        rows = [_row(path, row, columns) for row in reader]
    except csv.Error as error:
        msg = f"{path} must be a readable CSV file with the column case and others, got {error}."
        raise InputError(msg) from error
    found: dict[str, dict[str, str]] = {}
    for row in rows:
        if found.setdefault(row["case"], row) != row:
            msg = f"{path} must hold one row for each case, got two that differ for {row['case']}."
            raise InputError(msg)
    return found


def _row(path: Path, row: Mapping[str | None, Any], columns: Sequence[str]) -> dict[str, str]:
    if None in row:  # a comma too many would put values under the wrong names
        msg = (
            f"{path} must hold {counted(len(columns), 'cell')} in each row, got more for {row['case']}. Put values "
            "that hold a comma in quotes."
        )
        raise InputError(msg)
    return {column: unescaped((row[column] or "").strip()) for column in columns}


def _grouped(path: Path, column: str, values: Mapping[str, str]) -> dict[str, str]:
    stated = [value for value in values.values() if value]
    known = [value for value in stated if value.lower() not in _MISSING]
    numbers = {value: _number(value) for value in sorted({*known}, key=len)}
    if known and all(math.isfinite(number) for number in numbers.values()):
        names = _thirds if len({*numbers.values()}) > _MOST_NUMBERS else _spelt_alike
        named = names(numbers, known)
        return {case: named.get(value, NOT_STATED) for case, value in values.items()}
    if len({*stated}) > max(2, len(stated) / 2):
        msg = (
            f"column {column} of {path} must group the cases, got {counted(len({*stated}), 'different value')} for "
            f"{counted(len(stated), 'case')}. Leave it out, or write broader groups."
        )
        raise InputError(msg)
    return {case: value or NOT_STATED for case, value in values.items()}


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _spelt_alike(numbers: Mapping[str, float], _: Sequence[str]) -> dict[str, str]:
    """The shortest spelling of each number: 1.5 and 1.50 are one group."""
    names: dict[float, str] = {}
    return {text: names.setdefault(number, text) for text, number in numbers.items()}


def _thirds(numbers: Mapping[str, float], known: Sequence[str]) -> dict[str, str]:
    """Names the third that a number is in by its lowest and its highest value."""
    edges = np.quantile([numbers[text] for text in known], [1 / 3, 2 / 3])
    places = {text: int(np.searchsorted(edges, number)) for text, number in numbers.items()}
    ranges = {at: [numbers[text] for text, place in places.items() if place == at] for at in {*places.values()}}
    return {text: f"{min(ranges[at]):.15g} to {max(ranges[at]):.15g}" for text, at in places.items()}
