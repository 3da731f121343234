"""Processes that `torchrun` started for one job: number, count and device of each, and joining them for training."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import distributed

from imaseg.errors import InputError
from imaseg.models.device import pick_device


def rank() -> int:
    """Number of this process among those of `torchrun`; 0 without."""
    return _number("RANK", 0)


def world() -> int:
    """How many processes `torchrun` started; 1 without."""
    return max(1, _number("WORLD_SIZE", 1))


def local_rank() -> int:
    """Number of this process on its machine; 0 without `torchrun`."""
    return _number("LOCAL_RANK", 0)


def own_device(name: str) -> torch.device:
    """The device called `name`; "auto" gives each process of `torchrun` a GPU of its own, in turn."""
    if name == "auto" and torch.cuda.is_available():
        return torch.device("cuda", local_rank() % torch.cuda.device_count())
    return pick_device(name)


@contextmanager
def joined(device: str) -> Iterator[torch.device]:
    """Join the other processes for `torch.distributed` while the block runs, where there are any.

    Args:
        device: as in `TrainConfig`; with several processes each takes the GPU of its own rank.

    Raises:
        InputError: if the device does not exist, one GPU is named for several processes, or another process ends early.
    """
    if world() == 1 or distributed.is_initialized():
        yield pick_device(device)
        return
    if device.startswith("cuda:"):
        msg = f"device must be auto, cuda or cpu where torchrun starts several processes, got {device!r}."
        raise InputError(msg)
    mine = pick_device(device)
    if mine.type == "cuda":
        mine = pick_device(f"cuda:{local_rank()}")
        torch.cuda.set_device(mine)
    distributed.init_process_group("nccl" if mine.type == "cuda" else "gloo")
    try:
        yield mine
    except RuntimeError as error:
        if not _is_about_others(error):
            raise
        msg = (
            "every process of torchrun must live until the end, got one that ended. Run the same command with --resume."
        )
        raise InputError(msg) from error
    finally:
        distributed.destroy_process_group()


def _is_about_others(error: RuntimeError) -> bool:
    """Whether it says that another process cannot be reached any more."""
    return isinstance(error, distributed.DistError) or "gloo" in str(error) or "closed by peer" in str(error)


def several() -> bool:
    """Whether this process has joined others."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def wait() -> None:
    """Go on when all processes that joined are here."""
    if several():
        distributed.barrier()


def as_first_says(flag: bool) -> bool:
    """What the first process passes, in all of them."""
    if not several():
        return flag
    told = [flag]
    distributed.broadcast_object_list(told)
    return told[0]


def _number(name: str, otherwise: int) -> int:
    """As `torch.distributed` says where it was initialised, else as `torchrun` put it into the environment."""
    if distributed.is_available() and distributed.is_initialized() and name != "LOCAL_RANK":
        return distributed.get_rank() if name == "RANK" else distributed.get_world_size()
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() else otherwise
