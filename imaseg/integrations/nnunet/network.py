"""Gives training methods and attacks access to nnU-Net's network in the form that each of them needs."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from imaseg.frozen import Model, full_resolution, unwrap_ddp


class SearchableNetwork(nn.Module):
    """Runs nnU-Net's network in two ways, depending on the mode.

    Train mode is for the loss: the network runs as in nnU-Net, in mixed precision, compiled, distributed, with all
    outputs of deep supervision. Eval mode is for the search: the network runs in float32, without compilation (samples
    leave the batch as they finish, and each batch size would be compiled anew) and separately on each rank; it returns
    logits at full resolution only.

    Args:
        network: the trainer's network with all its wrappers.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self._half: dict[str, Any] | None = None
        self._seen = False

    def start_step(self, device: torch.device) -> None:
        """Remember the precision that nnU-Net uses in this step."""
        on = torch.is_autocast_enabled(device.type)
        self._half = {"device_type": device.type, "dtype": torch.get_autocast_dtype(device.type)} if on else None
        self._seen = False

    def full_precision(self) -> AbstractContextManager[Any]:
        """Context without mixed precision."""
        return torch.autocast(self._half["device_type"], enabled=False) if self._half else nullcontext()

    def own_precision(self) -> AbstractContextManager[Any]:
        """Context with nnU-Net's own precision."""
        return torch.autocast(**self._half) if self._half else nullcontext()

    def forward(self, image: Tensor) -> Any:
        """Return outputs as nnU-Net's loss takes them (train mode) or logits for a search (eval mode)."""
        if not self.training:
            return full_resolution(_eager(unwrap_ddp(self.network))(image))
        # Only the first pass of a step goes through DDP; gradients of later passes add up in the same weights, and are
        # averaged over ranks together with its own.
        network = unwrap_ddp(self.network) if self._seen else self.network
        self._seen = True
        with self.own_precision():
            return network(image)


def _eager(network: Model) -> Model:
    """The network without the wrapper of `torch.compile`."""
    inner = getattr(network, "_orig_mod", None)
    return inner if isinstance(inner, nn.Module) else network
