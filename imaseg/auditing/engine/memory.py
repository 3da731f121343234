"""Memory that a case takes, and what to say when there is not enough."""

from __future__ import annotations

import sys

import torch

_SHORT = ("out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory")


def forget_peak(device: torch.device) -> None:
    """Start counting anew, where the device can."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_mb(device: torch.device) -> float:
    """Largest memory in MB: of tensors on a GPU since `forget_peak`; else of this process so far, 0 if unknown."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
    try:
        import resource
    except ImportError:
        return 0.0
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "darwin" else 1)
    return round(kilobytes / 1024, 1)


def is_shortage(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a GPU or a CPU."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error).lower() for text in _SHORT)


def shortage(shape: tuple[int, ...], device: torch.device) -> str:
    """What a case that did not fit says."""
    size = f"image of {' x '.join(map(str, shape))}" if shape else "while it was read"
    way = "with --device cpu or on a larger GPU" if device.type == "cuda" else "on a machine with more"
    return (
        f"it ran out of memory on {device} ({size}, {peak_mb(device):.0f} MB at most). Run it {way}, or let the model "
        "predict in tiles (imaseg.TiledModel)."
    )
