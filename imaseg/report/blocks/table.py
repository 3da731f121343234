"""A table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from imaseg.report.blocks.base import Block
from imaseg.report.numerals import bracket, decimal, signed


@dataclass(frozen=True)
class Cell:
    """One table cell: the value, a smaller note under it, whether to mark it as missing, and where it leads."""

    text: str
    note: str = ""
    missing: bool = False
    link: str = ""


@dataclass(frozen=True)
class Table(Block):
    """Caption, column heads and rows; the first cell of a row is its head."""

    kind: ClassVar[str] = "table"
    caption: str
    head: list[str]
    rows: list[list[Cell]]
    numeric: bool = True


MISSING = Cell("not audited", missing=True)


def row(*cells: str | Cell) -> list[Cell]:
    """Row of cells, plain strings allowed.

    >>> row("standard", Cell("0.85", "[0.84, 0.87]"))[0].text
    'standard'
    """
    return [cell if isinstance(cell, Cell) else Cell(cell) for cell in cells]


def with_interval(value: float | None, interval: Sequence[float] | None, *, sign: bool = False, more: str = "") -> Cell:
    """A value with its interval, and further text, below it.

    >>> with_interval(0.5, [0.4, 0.6]).note
    '[0.400, 0.600]'
    """
    write = signed if sign else decimal
    return Cell(write(value), f"{bracket(interval, sign=sign)} {more}".strip())
