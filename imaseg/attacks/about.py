"""What is to be known of an attack or a preset by those who show or judge it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class About:
    """What pages, lists and checks need to know of an attack.

    Attributes:
        title: what tables and sentences call it.
        reference: the published work in full; empty if there is none.
        cited: how a sentence names that work.
        uses_gradients: whether it asks the model for gradients, so that masked ones could mislead it.
        is_noise: whether it draws at random instead of searching.
    """

    title: str
    reference: str = ""
    cited: str = ""
    uses_gradients: bool = True
    is_noise: bool = False
