"""Choice of the device that a model runs on, and its speed there."""

from __future__ import annotations

import time

import torch
from torch import Tensor, nn

from imaseg.errors import InputError


def pick_device(name: str) -> torch.device:
    """Return the device called `name`; "auto" is the GPU if there is one, else the CPU.

    Raises:
        InputError: if the device does not exist here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        msg = f"device must be auto, cpu, cuda or cuda:N, got {name!r}."
        raise InputError(msg) from error
    if device.type not in ("cpu", "cuda"):
        msg = f"device must be auto, cpu, cuda or cuda:N, got {name!r}."
        raise InputError(msg)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        msg = f"device must exist on this machine, got {name!r} with {torch.cuda.device_count()} GPUs. Use device=cpu."
        raise InputError(msg)
    return device


def seconds_per_pass(model: nn.Module, image: Tensor) -> float:
    """Time one forward and backward pass (gradient of the image): the faster of two measurements, in seconds."""
    leaf = image.detach().to(next(model.parameters()).device).requires_grad_()
    pauses = []
    for _ in range(2):
        begin = time.perf_counter()
        (gradient,) = torch.autograd.grad(model(leaf).square().mean(), leaf)
        float(gradient.sum())  # waits for a GPU to finish
        pauses.append(time.perf_counter() - begin)
    return min(pauses)
