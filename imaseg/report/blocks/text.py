"""Words: paragraphs, headings, lists, notices, and what is folded away until it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from imaseg.report.blocks.base import Block


@dataclass(frozen=True)
class Text(Block):
    """A paragraph; a soft one explains, in smaller and paler letters."""

    kind: ClassVar[str] = "text"
    text: str
    soft: bool = False


@dataclass(frozen=True)
class Heading(Block):
    """A heading inside a section."""

    kind: ClassVar[str] = "heading"
    text: str


@dataclass(frozen=True)
class Bullets(Block):
    """A list; `style` names its class in the style sheet."""

    kind: ClassVar[str] = "bullets"
    items: Sequence[str]
    style: str = ""


@dataclass(frozen=True)
class Sentence:
    """A sentence of the summary, with one item per model or set where it lists them."""

    text: str
    points: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sentences(Block):
    """Numbered sentences."""

    kind: ClassVar[str] = "sentences"
    sentences: Sequence[Sentence]


@dataclass(frozen=True)
class Notice(Block):
    """What must be known before reading on."""

    kind: ClassVar[str] = "notice"
    title: str
    items: Sequence[str]


@dataclass(frozen=True)
class Code(Block):
    """Text as it stands in a file."""

    kind: ClassVar[str] = "code"
    text: str


@dataclass(frozen=True)
class Details(Block):
    """Blocks that are folded away under a line."""

    kind: ClassVar[str] = "details"
    summary: str
    blocks: Sequence[Block]
