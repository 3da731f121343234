"""What classes of attacks and presets alike say of themselves."""

from __future__ import annotations

from typing import Protocol


class About(Protocol):
    """What pages, lists and checks need to know of an attack.

    Attributes:
        title: what tables and sentences call it.
        reference: the published work in full; empty if there is none.
        cited: how a sentence names that work.
        uses_gradients: whether it asks the model for gradients, so that masked ones could mislead it.
        is_noise: whether it draws at random instead of searching.
    """

    @property
    def title(self) -> str: ...
    @property
    def reference(self) -> str: ...
    @property
    def cited(self) -> str: ...
    @property
    def uses_gradients(self) -> bool: ...
    @property
    def is_noise(self) -> bool: ...
