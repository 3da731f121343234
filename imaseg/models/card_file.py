"""`load_model("CARD.yaml[@WEIGHTS]")`: a weights file, and a card that names the class of its network."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from torch import nn

from imaseg.errors import InputError
from imaseg.models.adapted import AdaptedModel, adapt
from imaseg.models.budget import no_larger_than
from imaseg.models.card import Card, read_card
from imaseg.models.places import inside
from imaseg.models.trusted import call_factory, import_object, require_trust
from imaseg.models.weights import load_state, read_state

_CARD = re.compile(r"^(?P<card>.+\.ya?ml)(?:@(?P<weights>.+))?$", re.I)
_MONAI = "monai.networks.nets."
_SMP = ("segmentation_models_pytorch.", "smp.")


def is_card(spec: str) -> bool:
    """Whether a model specification names a card file.

    >>> is_card("unet.yaml"), is_card("unet.yml@weights.pth"), is_card("runs/standard")
    (True, True, False)
    """
    return _CARD.match(spec) is not None


def load_card_model(spec: str, *, trust: bool = False) -> AdaptedModel:
    """Build the network class that a card names and load its weights from a file.

    Args:
        spec: path of the card, optionally followed by `@` and the path of a weights file that overrides the card's.
        trust: whether a class outside of MONAI and segmentation-models-pytorch may be imported.

    Raises:
        InputError: if something is missing, does not fit or needs trust.
    """
    match = _CARD.match(spec)
    path = Path(match["card"] if match else spec)
    if not path.exists():
        msg = f"{path} must be a model card (a YAML file), got no such file in {Path.cwd()}. Check the path."
        raise InputError(msg)
    card = read_card(path, trust=trust)
    if card.class_ is None:
        msg = f"{path} must name the network's class, got a card without `class:`."
        raise InputError(msg)
    if card.weights is None and not (match and match["weights"]):
        msg = f"{path} must name a file of `weights:`, got none. Write it into the card, or {path}@FILE."
        raise InputError(msg)
    weights = Path(match["weights"]) if match and match["weights"] else _beside(path, str(card.weights), trust=trust)
    state = read_state(weights)
    with no_larger_than(weights, source=str(path)):
        network = make_network(card, path, trust=trust)
    load_state(network, state, source=str(weights))
    return adapt(network, card, kind="card", name=path.stem)


def make_network(card: Card, path: Path, *, trust: bool) -> nn.Module:
    """Build the network with fresh weights.

    Raises:
        InputError: if there is no such class, it refuses the arguments, or needs trust.
    """
    name = str(card.class_)
    if name.startswith(_MONAI):
        from imaseg.models.networks import monai_network

        return monai_network(name.removeprefix(_MONAI), card.arguments, source=str(path))
    if name.startswith(_SMP):
        from imaseg.models.smp import smp_network

        return smp_network(name.rpartition(".")[2], card.arguments, source=str(path))
    if ":" not in name:
        msg = f"{path}: class must be {_MONAI}X, {_SMP[0]}X, or your own as module:Class, got {name!r}."
        raise InputError(msg)
    require_trust(f"class {name} in {path}", trust=trust)
    kind: Any = import_object(name, folders=(path.parent, Path()), source=f"class in {path}")
    network = call_factory(kind, card.arguments, source=f"class {name} in {path}")
    if not isinstance(network, nn.Module):
        msg = f"class in {path} must make an nn.Module, got {type(network).__name__}."
        raise InputError(msg)
    return network


def _beside(card: Path, weights: str, *, trust: bool) -> Path:
    filled = os.path.expandvars(weights) if trust else weights
    unset = re.findall(r"\$\{?(\w+)", filled)
    if unset:
        why = (
            f"{unset[0]} is not set. Set it"
            if trust
            else f"the variable {unset[0]} in it is filled in only with --trust. Add --trust if you trust the author"
        )
        msg = f"{card}: weights must be a path, got {weights!r:.80}, and {why}, or name the file yourself: {card}@FILE."
        raise InputError(msg)
    return inside(card.parent, filled, source=f"weights in {card}", mend=f"or write {card}@FILE.", trust=trust)
