"""With how many threads a CPU runs a network: as many as it may use, or one where more do not help.

PyTorch takes a thread per core of the machine. In a container that may use two of 64 cores, or beside another busy
process, these threads wait for each other at every small operation, and everything takes several times as long.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from imaseg.frozen import frozen
from imaseg.models.device import seconds_per_pass
from imaseg.models.segmentation import SegmentationModel

WANTED: int | None = None
"""Number of threads that the user asks for."""
_WORTH = 0.9
"""Share of the time with one thread that several must do with."""
MOST = 1024
"""Largest number that is taken: many more end the process without a word."""
_SIDE = 96
"""Largest side of what is timed: a network of full size takes minutes for a whole volume."""
_CGROUP = Path("/sys/fs/cgroup")


@contextmanager
def threads_for(model: SegmentationModel, image: Tensor | None, *, kept: int | None = None) -> Iterator[str]:
    """Run the block with the number of threads that suits a model on this machine, now.

    Args:
        model: on its device; on a GPU nothing changes.
        image: (B, C, *spatial) to time it on; None leaves the number as it is.
        kept: number that an earlier run of the same job had: sums in another order differ in their last digits.

    Yields:
        A sentence on the choice, empty where there was none.
    """
    before = torch.get_num_threads()
    try:
        yield _choose(model, image, kept)
    finally:
        torch.set_num_threads(before)


def usable_cores() -> int:
    """Cores that this process may use, by affinity and by the limit of its container."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = (_CGROUP / "cpu.max").read_text().split()
        return max(1, min(cores, int(quota) // int(period)))
    except (OSError, ValueError):  # no container, or no limit ("max")
        return cores


def _choose(model: SegmentationModel, image: Tensor | None, kept: int | None) -> str:
    if next(model.parameters()).device.type != "cpu":
        return ""
    if given := WANTED or (kept if kept and 1 <= kept <= MOST else None):
        torch.set_num_threads(given)
        return f"{_threads(given)}, {'as asked for' if WANTED else 'as before'}."
    cores = usable_cores()
    if image is None or "OMP_NUM_THREADS" in os.environ or cores == 1:
        return ""
    timed = timed_part(image)
    before = torch.get_num_threads()
    try:
        with frozen(model):
            seconds = {count: _timed(model, timed, count) for count in (cores, 1)}
    except Exception:  # it has no gradients, or fails on this image: what needs either says so
        torch.set_num_threads(before)
        return ""
    share = seconds[cores] / seconds[1]
    chosen = cores if share < _WORTH else 1
    torch.set_num_threads(chosen)
    return f"{_threads(chosen)}: with {cores} a pass takes {share:.2f} times as long as with 1 (--threads sets it)."


def timed_part(image: Tensor) -> Tensor:
    """A part of an image (B, C, *spatial) that a pass is timed on."""
    for axis in range(2, image.ndim):
        image = image.narrow(axis, 0, min(image.shape[axis], _SIDE))
    return image


def _timed(model: SegmentationModel, image: Tensor, count: int) -> float:
    torch.set_num_threads(count)
    return seconds_per_pass(model, image)


def _threads(count: int) -> str:
    return f"{count} thread{'s' if count > 1 else ''}"
