"""Pictures of single cases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from imaseg.report.blocks.base import Block


@dataclass(frozen=True)
class Panel:
    """One picture with what it shows, for eyes and for screen readers."""

    image: str
    caption: str
    alt: str


@dataclass(frozen=True)
class Sight:
    """One case of one model as three panels, the end of the perturbation's colour scale, and its anchor."""

    title: str
    facts: str
    panels: tuple[Panel, ...]
    scale: str
    key: str
    model: str
    case: str


@dataclass(frozen=True)
class Gallery(Block):
    """Cases under one heading."""

    kind: ClassVar[str] = "gallery"
    title: str
    note: str
    sights: list[Sight]
