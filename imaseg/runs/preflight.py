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
from imaseg.progress import counted, duration
from imaseg.ranks import several, world
from imaseg.runs.checkpoint import RunState
from imaseg.runs.config import TrainConfig
from imaseg.training import TrainingMethod


def check_fit(config: TrainConfig, model: SegmentationModel, method: TrainingMethod, cases: int) -> None:
    """Run network and loss on empty patches, so that a mismatch shows before anything is written.

    Args:
        config: settings.
        model: on its device; it is left as it was.
        method: its loss is run.
        cases: number of training cases; the smallest batch of an epoch is tried, since normalisation may need several.

    Raises:
        InputError: if they fail on them.
    """
    if config.awp is not None and several():
        msg = f"{config.where}awp must be left out where several processes train together. Train in one, or without it."
        raise InputError(msg)
    device, each = next(model.parameters()).device, math.ceil(cases / world())
    number = each % config.batch_size or config.batch_size
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        image = torch.zeros(number, model.card.in_channels, *config.patch, device=device)
        label = torch.zeros(number, 1, *config.patch, device=device)
        with frozen(model), torch.no_grad():
            method.loss(model(image[:1]), label[:1])
            model.train()
            method.loss(model(image), label)
    except (RuntimeError, ValueError, TypeError, AssertionError, IndexError) as error:
        reason = " ".join(str(error).split())
        batch = f" in the smallest batch, of {counted(number, 'case')}"
        msg = (
            f"{config.where}network, patch and loss must fit together, got an error on empty patches of {config.patch}"
            f"{batch}: {reason}"
        )
        raise InputError(msg) from error
    finally:
        for buffer, before in buffers:
            buffer.copy_(before)


def time_estimate(config: TrainConfig, model: SegmentationModel, state: RunState, cases: int) -> str:
    """One line with the number of cases and epochs and the expected time, estimated from timed passes of one batch."""
    device, method = next(model.parameters()).device, state.method
    each = math.ceil(cases / world())
    number = min(config.batch_size, each)
    image = torch.zeros(number, model.card.in_channels, *config.patch, device=device)
    label = torch.zeros(number, 1, *config.patch, device=device)

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
    epochs = config.epochs - state.epoch
    seconds = epochs * each / number * batch
    told = f"{counted(cases, 'case')}, {counted(epochs, 'epoch')}, method {method.name}: about {duration(seconds)}"
    return f"{told}, data loading and monitoring aside."


def _gradient(loss: Callable[[Tensor], Tensor], image: Tensor, *weights: Tensor) -> None:
    """Of the image, or of weights; no `.grad` is written."""
    gradients = torch.autograd.grad(loss(image), weights or (image,), allow_unused=True)
    float(sum(one.sum() for one in gradients if one is not None))  # waits for a GPU to finish
