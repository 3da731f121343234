"""What a section is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from imaseg.report.blocks import Block, Sentence


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
        works: that these cite, in full.
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
