"""Choice of the device that a model runs on, and its speed there."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from imaseg.errors import InputError

_MOST_TIMES, _QUICK = 5, 1.0
"""How often what is quick is timed, and seconds after which it is not done again."""


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


def seconds_of(call: Callable[..., object], *arguments: object) -> float:
    """Time a call: the middle of up to five times, the lower of two; what takes a second is not done twice.

    A first call loads libraries and fills caches; any call may have to wait for other processes.
    """
    spent: list[float] = []
    while not spent or (len(spent) < _MOST_TIMES and sum(spent) < _QUICK):
        begin = time.perf_counter()
        call(*arguments)
        spent.append(time.perf_counter() - begin)
    return sorted(spent)[(len(spent) - 1) // 2]


def seconds_per_pass(model: nn.Module, image: Tensor) -> float:
    """Time one forward and backward pass (gradient of the image), in seconds, as `seconds_of` does."""
    leaf = image.detach().to(next(model.parameters()).device).requires_grad_()

    def once() -> None:
        (gradient,) = torch.autograd.grad(model(leaf).square().mean(), leaf)
        float(gradient.sum())  # waits for a GPU to finish

    return seconds_of(once)
