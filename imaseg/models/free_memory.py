"""Memory that is free, and what tiled models may hold of it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from imaseg.tiling import TiledModel

_MEMINFO, _CGROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")
_SHARE = 0.25
"""Of the free memory, for graphs of tiles: the volumes of an attack and its bookkeeping need room too."""


@contextmanager
def tiles_keep_graphs(model: nn.Module) -> Iterator[None]:
    """While the block runs, tiled networks keep the graphs of tiles that fit into a share of what is free now."""
    tiled = {part: part.memory for part in model.modules() if isinstance(part, TiledModel)}
    device = next((one.device for one in model.parameters()), torch.device("cpu"))
    try:
        if tiled:
            free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else free_bytes() or 0
            together = 1 if device.type == "cuda" else int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
            for part in tiled:
                part.memory = _SHARE * free / together / len(tiled)
        yield
    finally:
        for part, before in tiled.items():
            part.memory = before


def free_bytes() -> int | None:
    """Memory that is free on this machine and in this container; None where the system does not say."""
    found = [number for number in (_of_machine(), _of_container()) if number is not None]
    return min(found) if found else None


def _of_machine() -> int | None:
    try:
        return 1024 * int(re.findall(r"^MemAvailable:\s+(\d+)", _MEMINFO.read_text(), re.MULTILINE)[0])
    except (OSError, IndexError):
        return None


def _of_container() -> int | None:
    """The limit less what is in use, of which the cache of files counts as free."""
    try:
        limit, used = (int((_CGROUP / name).read_text()) for name in ("memory.max", "memory.current"))
        cached = re.findall(r"^inactive_file (\d+)", (_CGROUP / "memory.stat").read_text(), re.MULTILINE)
    except (OSError, ValueError):  # no container, or no limit ("max")
        return None
    return max(0, limit - used + sum(map(int, cached)))
