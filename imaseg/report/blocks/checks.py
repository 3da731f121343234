"""Checks with their marks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from imaseg.report.blocks.base import Block


class Verdict(NamedTuple):
    """What a check says of one model."""

    model: str
    state: str
    mark: str
    number: str
    detail: str


@dataclass(frozen=True)
class ChecksPanel(Block):
    """Every check with a verdict per model."""

    kind: ClassVar[str] = "checks"
    checks: list[tuple[str, list[Verdict]]]
    several: bool
