"""Which device a model runs on."""

from __future__ import annotations

import torch

from imaseg.errors import InputError


def pick_device(name: str) -> torch.device:
    """The device called `name`; "auto" is the GPU if there is one.

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
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        msg = f"device must exist on this machine, got {name!r} with {torch.cuda.device_count()} GPUs. Use device=cpu."
        raise InputError(msg)
    return device
