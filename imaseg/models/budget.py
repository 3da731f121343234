"""Stops the making of a network that is far larger than the file of its weights, before it fills the memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from imaseg.errors import InputError

_TIMES = 4
_MORE_BYTES = 2**26
_MORE_TENSORS = 2000
_BYTES_EACH = 50
"""What the name of a tensor and its shape take in a file at least."""


@contextmanager
def no_larger_than(weights: Path, *, source: str) -> Iterator[None]:
    """Context in which a network is made whose weights are in a file.

    Args:
        weights: the file.
        source: what describes the network, for the message.

    Raises:
        InputError: if tensors are made that the file cannot fill.
    """
    with _Budget(weights, source):
        yield


class _Budget(TorchDispatchMode):
    """Counts what is made of nothing; PyTorch takes the memory of such tensors only as they are filled."""

    def __init__(self, weights: Path, source: str) -> None:
        super().__init__()
        size = weights.stat().st_size
        self._weights, self._source = weights, source
        self._bytes, self._tensors = _TIMES * size + _MORE_BYTES, size // _BYTES_EACH + _MORE_TENSORS

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if isinstance(made, Tensor) and not any(isinstance(one, Tensor) for one in tree_leaves((args, kwargs))):
            self._bytes -= made.untyped_storage().nbytes()
            self._tensors -= 1
            if self._bytes < 0 or self._tensors < 0:
                msg = (
                    f"{self._source} must describe the network whose weights are in {self._weights}, got a far larger "
                    "one. Use the arguments that it was trained with."
                )
                raise InputError(msg)
        return made
