"""`load_model("python:module:factory")`: a model that a Python function of the user returns."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from imaseg.errors import InputError
from imaseg.models.adapted import adapt
from imaseg.models.card import Card, parse_card, read_card
from imaseg.models.segmentation import SegmentationModel
from imaseg.models.trusted import call_factory, import_object, require_trust


def load_python(text: str, *, trust: bool = False) -> SegmentationModel:
    """Call a factory in a module that can be imported from the current folder.

    Args:
        text: `module:factory`. The factory takes no arguments and returns an nn.Module or a SegmentationModel, or a
            pair of an nn.Module and its card. A card is a mapping or the path of a YAML file; it may also be an
            attribute `card` of the network or of the factory.
        trust: whether the code may run.

    Raises:
        InputError: if it needs trust, cannot be imported, fails, or returns something else.
    """
    require_trust(f"python:{text}", trust=trust)
    factory = import_object(text, folders=(Path(),), source="python:module:factory")
    made = call_factory(factory, {}, source=f"python:{text}")
    network, given = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if isinstance(network, SegmentationModel):
        return network
    if not isinstance(network, nn.Module):
        msg = f"python:{text} must return an nn.Module or a SegmentationModel, got {type(network).__name__}."
        raise InputError(msg)
    given = given if given is not None else getattr(network, "card", getattr(factory, "card", None))
    return adapt(network, _card(given, text), kind="python", name=text.rpartition(":")[2])


def _card(given: Any, text: str) -> Card:
    if given is None:
        return Card()
    if isinstance(given, Card):
        return given
    if isinstance(given, str | Path):
        return read_card(Path(given), trust=True)
    if not isinstance(given, Mapping):
        msg = f"card of python:{text} must be a mapping or the path of a YAML file, got {type(given).__name__}."
        raise InputError(msg)
    return parse_card(dict(given), source=f"card of python:{text}")
