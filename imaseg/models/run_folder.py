"""Reads and writes the model in a training run's folder: `model.json` (the card) and `weights.safetensors`."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from imaseg.data.files import whole_file
from imaseg.data.plain import read_json
from imaseg.errors import InputError
from imaseg.models.budget import no_larger_than
from imaseg.models.networks import build_network, load_weights
from imaseg.models.segmentation import ModelCard, SegmentationModel
from imaseg.models.weights import read_state
from imaseg.validated import validated

CARD = "model.json"
WEIGHTS = "weights.safetensors"


def build_model(card: ModelCard) -> SegmentationModel:
    """Build the model that a card describes, with fresh weights."""
    network = build_network(
        card.network, spatial_dims=card.spatial_dims, in_channels=card.in_channels, out_channels=len(card.labels)
    )
    return SegmentationModel(network, card)


def save_run_model(model: SegmentationModel, folder: Path) -> None:
    """Write card and weights, each file atomically."""
    with whole_file(folder / CARD) as part:
        part.write_text(model.card.model_dump_json(indent=1))
    # Copies, since some networks (DynUNet) hold the same layer under two names, which the format refuses.
    state = model.network.state_dict()
    weights = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in state.items()
    }
    with whole_file(folder / WEIGHTS) as part:
        part.write_bytes(save(weights))  # whose own writer says of a full disk only that it failed


def load_run_model(folder: Path) -> SegmentationModel:
    """Load the model of a run that `imaseg train` wrote; nothing in the folder is executed.

    Raises:
        InputError: if a file is missing, unreadable, or does not fit the network.
    """
    card = validated(ModelCard, read_json(folder / CARD), source=str(folder / CARD))
    weights = read_weights(folder)
    with no_larger_than(folder / WEIGHTS, source=str(folder / CARD)):
        model = build_model(card)
    load_weights(model.network, weights, source=str(folder / WEIGHTS))
    model.no_own = ""
    return model


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Read the weights of a run folder, by name.

    Raises:
        InputError: if the file is missing or damaged.
    """
    path = folder / WEIGHTS
    if not path.is_file():
        msg = f"{path} must exist, got nothing there. Give a folder that `imaseg train` wrote and finished an epoch in."
        raise InputError(msg)
    return read_state(path)
