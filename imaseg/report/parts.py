"""The building blocks that every section hands to the template: a table, and a figure with the table behind it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Cell:
    """One table cell: the value, a smaller note under it, whether to mark it as missing, and where it leads."""

    text: str
    note: str = ""
    missing: bool = False
    link: str = ""


@dataclass(frozen=True)
class Table:
    """Caption, column heads and rows; the first cell of a row is its head."""

    caption: str
    head: list[str]
    rows: list[list[Cell]]
    numeric: bool = True


@dataclass(frozen=True)
class Figure:
    """One plot: what it is called, what it says to those who cannot see it, its Plotly JSON and its table."""

    key: str
    title: str
    caption: str
    label: str
    plot: dict[str, Any]
    table: Table
    large: bool = field(default=False)


def row(*cells: str | Cell) -> list[Cell]:
    """Row of cells, plain strings allowed.

    >>> row("standard", Cell("0.85", "[0.84, 0.87]"))[0].text
    'standard'
    """
    return [cell if isinstance(cell, Cell) else Cell(cell) for cell in cells]


MISSING = Cell("not audited", missing=True)
