"""Checks before a run starts that everything fits together, and estimates how long it will take."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from imaseg.errors import InputError
from imaseg.frozen import frozen
from imaseg.models.device import seconds_of
from imaseg.models.segmentation import SegmentationModel
from imaseg.progress import duration
from imaseg.ranks import several, world
from imaseg.runs.checkpoint import RunState
from imaseg.runs.config import TrainConfig
from imaseg.training import TrainingMethod


def check_fit(config: TrainConfig, model: SegmentationModel, method: TrainingMethod) -> None:
    """Run network and loss on one empty patch, so that a mismatch shows before anything is written.

    Raises:
        InputError: if they fail on it.
    """
    if config.awp is not None and several():
        msg = f"{config.where}awp must be left out where several processes train together. Train in one, or without it."
        raise InputError(msg)
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
    """One line with the number of cases and epochs and the expected time, estimated from timed passes of one batch."""
    device, method = next(model.parameters()).device, state.method
    image = torch.zeros(config.batch_size, model.card.in_channels, *config.patch, device=device)
    label = torch.zeros(config.batch_size, 1, *config.patch, device=device)

    def loss(image: Tensor) -> Tensor:
        return method.loss(model(image), label).mean()

    with torch.autocast(device.type, enabled=config.amp):
        with frozen(model):
            searched = seconds_of(lambda: _gradient(loss, image.clone().requires_grad_()))
        training = model.training
        model.eval()  # as it was afterwards: statistics of BatchNorm do not move
        step = seconds_of(lambda: _gradient(loss, image, *(one for one in model.parameters() if one.requires_grad)))
        model.train(training)
    batch = method.searches * searched + (method.passes - method.searches) * step * (1 if config.awp is None else 2)
    epochs, each = config.epochs - state.epoch, math.ceil(cases / world())
    seconds = epochs * each / config.batch_size * batch
    told = f"{cases} cases, {epochs} epochs, method {method.name}: about {duration(seconds)}"
    return f"{told}, data loading and monitoring aside."


def _gradient(loss: Callable[[Tensor], Tensor], image: Tensor, *weights: Tensor) -> None:
    """Of the image, or of weights; no `.grad` is written."""
    gradients = torch.autograd.grad(loss(image), weights or (image,), allow_unused=True)
    float(sum(one.sum() for one in gradients if one is not None))  # waits for a GPU to finish
