"""What every block has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Block:
    """A part of a section; `kind` names the macro that draws it."""

    kind: ClassVar[str]
