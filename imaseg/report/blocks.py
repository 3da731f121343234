"""A section of the page and its blocks; the template draws each by its `kind`, a macro of `style/blocks.html.j2`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from imaseg.report.wording import bracket, decimal


@dataclass(frozen=True)
class Block:
    """A part of a section."""

    @property
    def kind(self) -> str:
        """Name of the macro that draws it."""
        return type(self).__name__.lower()


@dataclass(frozen=True)
class Text(Block):
    """A paragraph; a soft one explains, in smaller and paler letters."""

    text: str
    soft: bool = False


@dataclass(frozen=True)
class Heading(Block):
    """A heading inside a section."""

    text: str


@dataclass(frozen=True)
class Bullets(Block):
    """A list; `style` names its class in the style sheet."""

    items: Sequence[str]
    style: str = ""


class Sentence(NamedTuple):
    """A sentence of the summary, with one item per model or set where it lists them."""

    text: str
    points: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sentences(Block):
    """Numbered sentences."""

    sentences: Sequence[Sentence]


@dataclass(frozen=True)
class Notice(Block):
    """What must be known before reading on."""

    title: str
    items: Sequence[str]


@dataclass(frozen=True)
class Code(Block):
    """Text as it stands in a file."""

    text: str


@dataclass(frozen=True)
class Details(Block):
    """Blocks that are folded away under a line."""

    summary: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Grid(Block):
    """Blocks side by side where there is room; `style` names the grid in the style sheet."""

    blocks: Sequence[Block]
    style: str = "small"


class Cell(NamedTuple):
    """One table cell: the value, a smaller note under it, whether it is missing, where it leads, and its colours."""

    text: str
    note: str = ""
    missing: bool = False
    link: str = ""
    colours: str = ""


MISSING = Cell("not audited", missing=True)


@dataclass(frozen=True)
class Table(Block):
    """Caption, column heads and rows; the first cell of a row is its head; `style` is a class of the style sheet."""

    caption: str
    head: list[str]
    rows: list[list[Cell]]
    style: str = "numeric"


def table(caption: str, rows: Iterable[Mapping[str, object]], style: str = "numeric") -> Table:
    """A table of rows that name their columns, all the same ones.

    >>> table("Dice", [{"Model": "a", "Dice": Cell("0.85", "[0.84, 0.87]")}]).head
    ['Model', 'Dice']
    """
    listed = list(rows)
    cells = [[value if isinstance(value, Cell) else Cell(str(value)) for value in row.values()] for row in listed]
    return Table(caption, list(listed[0]) if listed else [], cells, style)


def with_interval(value: float | None, interval: Sequence[float] | None, *, sign: bool = False, more: str = "") -> Cell:
    """A value with its interval, and further text, below it.

    >>> with_interval(0.5, [0.4, 0.6]).note
    '[0.400, 0.600]'
    """
    return Cell(decimal(value, sign=sign), f"{'' if value is None else bracket(interval, sign=sign)} {more}".strip())


@dataclass(frozen=True)
class Figure(Block):
    """One plot: what it is called, what it says to those who cannot see it, its Plotly JSON and its table."""

    key: str
    title: str
    caption: str
    label: str
    plot: dict[str, Any]
    table: Table


@dataclass(frozen=True)
class Legend(Block):
    """Key to pictures: name and colour of every outlined class, and of what is filled with a colour; what is dashed."""

    classes: Sequence[tuple[str, str]]
    swatches: Sequence[tuple[str, str]] = ()
    dashed: str = "label"


@dataclass(frozen=True)
class Scale(Block):
    """A bar of colours, and what its ends mean."""

    colours: str
    low: str
    high: str


class Panel(NamedTuple):
    """One picture with what it shows, for eyes and for screen readers."""

    image: str
    caption: str
    alt: str


class Sight(NamedTuple):
    """One case of one model as three panels, the end of the colour scale, its anchor, and why it is shown."""

    title: str
    facts: str
    panels: tuple[Panel, ...]
    scale: str
    key: str
    model: str
    case: str
    why: str = ""


@dataclass(frozen=True)
class Gallery(Block):
    """Pictures of single cases under one heading."""

    title: str
    note: str
    sights: list[Sight]


class Slide(NamedTuple):
    """One slice: its panels, and what is said of it."""

    panels: tuple[Panel, ...]
    said: str


@dataclass(frozen=True)
class Viewer(Block):
    """Slices of one case and set under a slider: the one shown first, the colours, and whose sliders move along."""

    key: str
    title: str
    note: str
    slides: list[Slide]
    first: int
    scale: Scale
    group: str = ""


class Answer(NamedTuple):
    """A question, its answer per model (name, empty if there is one; number), and what the numbers are."""

    question: str
    numbers: list[tuple[str, str]]
    said: str


@dataclass(frozen=True)
class Glance(Block):
    """Answers beside a picture."""

    answers: list[Answer]
    panels: list[Panel]
    note: str


class Explored(NamedTuple):
    """One case of one model for the viewer: its name, what is said of it, gzipped NIfTI in base64, how to show it."""

    title: str
    said: str
    volumes: str
    look: dict[str, Any]


@dataclass(frozen=True)
class Explorer(Block):
    """Cases that a viewer shows in all planes, with the colours of its panes by name."""

    note: str
    cases: list[Explored]
    colours: dict[str, Any]
    dashed: str = "label"


class Verdict(NamedTuple):
    """What a check says of one model."""

    model: str
    state: str
    mark: str
    number: str
    detail: str


@dataclass(frozen=True)
class Checks(Block):
    """Every check with a verdict per model."""

    checks: list[tuple[str, list[Verdict]]]
    several: bool


@dataclass(frozen=True)
class Section:
    """A part of the page, and what it contributes to the summary, the methods and the limits.

    Attributes:
        order: place on the page, rising.
        key: anchor.
        title: heading.
        blocks: content.
        lead: how to read it, in a sentence or two.
        name: in the navigation, where that is not the title.
        sentences: for the summary.
        notices: what must be known before reading on.
        methods: sentences of the methods paragraph.
        works: that these cite, in full or by their key in `works.py`.
        limits: what the numbers do not say.
    """

    order: int
    key: str
    title: str
    blocks: Sequence[Block]
    lead: str = ""
    name: str = ""
    sentences: Sequence[Sentence] = ()
    notices: Sequence[str] = ()
    methods: Sequence[str] = ()
    works: Sequence[str] = ()
    limits: Sequence[str] = ()
