"""Slices under a slider."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from imaseg.report.blocks.base import Block
from imaseg.report.blocks.gallery import Panel


@dataclass(frozen=True)
class Slide:
    """One slice: its panels, and what is said of it."""

    panels: tuple[Panel, ...]
    said: str


@dataclass(frozen=True)
class Viewer(Block):
    """The slices of one case and set, the one shown first, the ends of the colours, and whose sliders move along."""

    kind: ClassVar[str] = "viewer"
    key: str
    title: str
    note: str
    slides: list[Slide]
    first: int
    colours: str
    scale: str
    unit: str
    group: str = ""
