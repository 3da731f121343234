"""`load_model("smp:DIR")`: a folder that `save_pretrained` of segmentation-models-pytorch wrote, read as data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from imaseg.data.plain import read_json
from imaseg.errors import InputError
from imaseg.models.adapted import AdaptedModel, adapt
from imaseg.models.budget import no_larger_than
from imaseg.models.card import BESIDE, card_beside
from imaseg.models.declared import declared
from imaseg.models.smp_own import SMPPipeline
from imaseg.models.weights import load_state, read_state

_CONFIG = "config.json"
_WEIGHTS = "model.safetensors"
_TIMM = re.compile(r"(?:tu|timm)-(?P<name>[\w.-]+)")


def load_smp(text: str, *, trust: bool = False) -> AdaptedModel:
    """Load such a folder; nothing in it is executed and nothing is downloaded.

    Args:
        text: the folder. A card beside the weights (`imaseg.yaml`) gives labels and preparation.
        trust: whether files that the card names may be outside of the folder.

    Raises:
        InputError: if a file is missing or damaged, or the class is none of the library.
    """
    folder = Path(text)
    for name in (_CONFIG, _WEIGHTS):
        if not (folder / name).is_file():
            msg = f"{folder} must be a folder that save_pretrained wrote, got one without {name}. Save it again."
            raise InputError(msg)
    config = read_json(folder / _CONFIG)
    kind = config.get("_model_class") or config.get("model_class")
    arguments = {key: value for key, value in config.items() if not key.startswith("_") and key != "model_class"}
    state = read_state(folder / _WEIGHTS)
    with no_larger_than(folder / _WEIGHTS, source=str(folder / _CONFIG)):
        network = smp_network(str(kind), arguments, source=str(folder / _CONFIG))
    load_state(network, state, source=str(folder / _WEIGHTS))
    notes = []
    if config.get("encoder_weights"):
        notes.append(
            f"The encoder began with {config['encoder_weights']} weights: such models are often given images "
            "normalised for those. Only the author knows; the card's recipe says it."
        )
    card = card_beside(folder / BESIDE, trust=trust)
    if card.divisor is None:  # newer versions take any sides, but networks are trained on multiples of the stride
        card.divisor = getattr(network.encoder, "output_stride", None)
    model = adapt(network, card, kind="smp", name=folder.resolve().name, notes=notes)
    if not config.get("encoder_weights"):
        model.no_own = "its encoder began with no pretrained weights, for which alone SMP defines a preprocessing"
        return model
    if model.card.in_channels != 3:
        model.no_own = f"SMP defines a preprocessing for 3 channels, and it takes {model.card.in_channels}"
        return model
    try:
        model.own = SMPPipeline(network, arguments, model.painted)
    except InputError as error:
        model.no_own = str(error)
    return model


def smp_network(name: str, arguments: Mapping[str, Any], *, source: str) -> nn.Module:
    """Build a network of segmentation-models-pytorch with fresh weights; pretrained ones are never downloaded.

    Raises:
        InputError: if there is no such class or encoder, or it refuses the arguments.
    """
    import segmentation_models_pytorch as smp

    architectures = {kind.__name__: kind for kind in smp.MODEL_ARCHITECTURES_MAPPING.values()}
    if name not in architectures:
        msg = f"{source} must name one of {', '.join(sorted(architectures))}, got {name!r}."
        raise InputError(msg)
    given = declared(architectures[name], arguments, source=source) | {"encoder_weights": None}
    if not _is_encoder(given.get("encoder_name", "resnet34")):
        msg = (
            f"{source} must name an encoder that segmentation-models-pytorch or timm has by itself, got "
            f"{given['encoder_name']!r}. Those of the network or of a folder are not fetched."
        )
        raise InputError(msg)
    try:
        network: nn.Module = architectures[name](**given)
    except InputError:
        raise
    except Exception as error:  # SMP and timm check their arguments in many ways
        told = " ".join(str(error).split())[:200]
        msg = f"{source} must hold arguments that {name} takes, got {dict(arguments)}: {told}."
        raise InputError(msg) from error
    return network


def _is_encoder(name: object) -> bool:
    """Whether it is a name in the lists of SMP and timm; `tu-hf-hub:` and `tu-local-dir:` are addresses."""
    import timm
    from segmentation_models_pytorch.encoders import encoders

    if not isinstance(name, str):
        return False
    of_timm = _TIMM.fullmatch(name)
    return name in encoders or (of_timm is not None and timm.is_model(of_timm["name"]))
