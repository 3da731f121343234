"""Key to pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from imaseg.report.blocks.base import Block


@dataclass(frozen=True)
class Legend(Block):
    """Name and colour of every outlined class, and of what is filled with a colour."""

    kind: ClassVar[str] = "legend"
    classes: Sequence[tuple[str, str]]
    swatches: Sequence[tuple[str, str]] = ()
