"""Descriptive attributes of an attack or a preset, for reports, lists and checks."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class About:
    """What reports, lists and checks need to know about an attack.

    Attributes:
        title: name in tables and sentences.
        reference: the published work in full; empty if there is none.
        cited: short citation of that work, as used in sentences.
        uses_gradients: whether it asks the model for gradients, so that masked ones could mislead it.
        is_noise: whether it draws at random instead of searching.
    """

    title: str
    reference: str = ""
    cited: str = ""
    uses_gradients: bool = True
    is_noise: bool = False
