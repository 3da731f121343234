"""A table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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


def table(caption: str, rows: Iterable[Mapping[str, object]], *, numeric: bool = True) -> Table:
    """A table of rows that name their columns, all the same ones.

    >>> table("Dice", [{"Model": "a", "Dice": Cell("0.85", "[0.84, 0.87]")}]).head
    ['Model', 'Dice']
    """
    filled = [
        {head: value if isinstance(value, Cell) else Cell(str(value)) for head, value in row.items()} for row in rows
    ]
    return Table(caption, list(filled[0]) if filled else [], [list(row.values()) for row in filled], numeric)


def with_interval(value: float | None, interval: Sequence[float] | None, *, sign: bool = False, more: str = "") -> Cell:
    """A value with its interval, and further text, below it.

    >>> with_interval(0.5, [0.4, 0.6]).note
    '[0.400, 0.600]'
    """
    write = signed if sign else decimal
    return Cell(write(value), f"{bracket(interval, sign=sign)} {more}".strip())
