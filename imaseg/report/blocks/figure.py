"""A plot with the table behind it, and blocks side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from imaseg.report.blocks.base import Block
from imaseg.report.blocks.table import Table


@dataclass(frozen=True)
class Figure(Block):
    """One plot: what it is called, what it says to those who cannot see it, its Plotly JSON and its table."""

    kind: ClassVar[str] = "figure"
    key: str
    title: str
    caption: str
    label: str
    plot: dict[str, Any]
    table: Table


@dataclass(frozen=True)
class Grid(Block):
    """Blocks side by side where there is room; `style` names the grid in the style sheet."""

    kind: ClassVar[str] = "grid"
    blocks: Sequence[Block]
    style: str = "small"
