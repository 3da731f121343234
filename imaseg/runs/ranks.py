"""Processes that `torchrun` started for one run: which device each has, who writes, who waits."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import distributed

from imaseg.errors import InputError
from imaseg.models.device import pick_device


@contextmanager
def joined(device: str) -> Iterator[torch.device]:
    """Join the other processes while the block runs, where there are any.

    Args:
        device: as in `TrainConfig`; with several processes each takes the GPU of its own rank.

    Raises:
        InputError: if the device does not exist, or one GPU is named for several processes.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or distributed.is_initialized():
        yield pick_device(device)
        return
    if device.startswith("cuda:"):
        msg = f"device must be auto, cuda or cpu where torchrun starts several processes, got {device!r}."
        raise InputError(msg)
    mine = pick_device(device)
    if mine.type == "cuda":
        mine = pick_device(f"cuda:{os.environ['LOCAL_RANK']}")
        torch.cuda.set_device(mine)
    distributed.init_process_group("nccl" if mine.type == "cuda" else "gloo")
    try:
        yield mine
    finally:
        distributed.destroy_process_group()


def several() -> bool:
    """Whether this process shares the run with others."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def rank() -> int:
    """Number of this process, 0 if it is alone."""
    return distributed.get_rank() if several() else 0


def ranks() -> int:
    """Number of processes."""
    return distributed.get_world_size() if several() else 1


def wait() -> None:
    """Go on when all processes are here."""
    if several():
        distributed.barrier()
