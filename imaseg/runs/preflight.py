"""Checks before a run starts that everything fits together, and estimates how long it will take."""

from __future__ import annotations

import math

import torch

from imaseg.errors import InputError
from imaseg.frozen import frozen
from imaseg.models.device import seconds_per_pass
from imaseg.models.segmentation import SegmentationModel
from imaseg.progress import duration
from imaseg.ranks import world
from imaseg.runs.checkpoint import RunState
from imaseg.runs.config import TrainConfig
from imaseg.training import TrainingMethod


def check_fit(config: TrainConfig, model: SegmentationModel, method: TrainingMethod) -> None:
    """Run network and loss on one empty patch, so that a mismatch shows before anything is written.

    Raises:
        InputError: if they fail on it.
    """
    device = next(model.parameters()).device
    image = torch.zeros(1, model.card.in_channels, *config.patch, device=device)
    label = torch.zeros(1, 1, *config.patch, device=device)
    try:
        with frozen(model), torch.no_grad():
            method.loss(model(image), label)
    except (RuntimeError, ValueError, TypeError, AssertionError, IndexError) as error:
        reason = " ".join(str(error).split())
        msg = f"network, patch and loss must fit together, got an error on an empty patch of {config.patch}: {reason}"
        raise InputError(msg) from error


def time_estimate(config: TrainConfig, model: SegmentationModel, state: RunState, cases: int) -> str:
    """One line with the number of cases and epochs and the expected time, estimated from one timed pass."""
    device = next(model.parameters()).device
    patch = torch.zeros(1, model.card.in_channels, *config.patch, device=device)
    with frozen(model), torch.autocast(device.type, enabled=config.amp):
        pause = seconds_per_pass(model, patch)
    epochs, together = config.epochs - state.epoch, world()
    seconds = pause * state.method.passes * epochs * math.ceil(cases / together / config.batch_size) * config.batch_size
    return f"{cases} cases, {epochs} epochs, method {state.method.name}: about {duration(seconds)}, data loading aside."
