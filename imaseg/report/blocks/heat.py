"""A heat map: a table whose cells are coloured and carry their number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from imaseg.report.blocks.base import Block


@dataclass(frozen=True)
class Heat:
    """One cell: its number, whether Dice is halved, paper and ink (none where nothing was measured)."""

    text: str
    halved: bool = False
    paper: str = ""
    ink: str = ""


@dataclass(frozen=True)
class HeatRow:
    """A corruption of one model; `span` models share the name of the corruption, which the first of them carries."""

    title: str
    note: str
    span: int
    model: str
    cells: list[Heat]


@dataclass(frozen=True)
class HeatMap(Block):
    """Corruptions down, severities across, the models of a corruption below each other; `scale` are its colours."""

    kind: ClassVar[str] = "heat"
    caption: str
    scale: str
    levels: list[int]
    several: bool
    scored: bool
    rows: list[HeatRow]
