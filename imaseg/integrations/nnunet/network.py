"""nnU-Net's network as training methods and attacks call it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from imaseg.frozen import Model, full_resolution, unwrap_ddp


class SearchableNetwork(nn.Module):
    """Two ways through one network.

    In train mode, for the loss: as nnU-Net runs it, under its mixed precision, compiled, distributed, with all outputs
    of deep supervision. In eval mode, for the search: float32, logits of full resolution only, not compiled (samples
    leave the batch as they finish, and every size would be compiled anew), each rank for itself.

    Args:
        network: of the trainer, in whatever it is wrapped.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self._half: dict[str, Any] | None = None
        self._seen = False

    def start_step(self, device: torch.device) -> None:
        """Note the precision that nnU-Net runs this step in."""
        on = torch.is_autocast_enabled(device.type)
        self._half = {"device_type": device.type, "dtype": torch.get_autocast_dtype(device.type)} if on else None
        self._seen = False

    def full_precision(self) -> AbstractContextManager[Any]:
        """Context without mixed precision."""
        return torch.autocast(self._half["device_type"], enabled=False) if self._half else nullcontext()

    def own_precision(self) -> AbstractContextManager[Any]:
        """Context of nnU-Net's own precision."""
        return torch.autocast(**self._half) if self._half else nullcontext()

    def forward(self, image: Tensor) -> Any:
        """Outputs as nnU-Net's loss takes them, or logits for a search."""
        if not self.training:
            return full_resolution(_eager(unwrap_ddp(self.network))(image))
        # DDP may see one pass per step; gradients of later ones end in the same weights and are averaged with them.
        network = unwrap_ddp(self.network) if self._seen else self.network
        self._seen = True
        with self.own_precision():
            return network(image)


def _eager(network: Model) -> Model:
    """The network without `torch.compile` around it."""
    inner = getattr(network, "_orig_mod", None)
    return inner if isinstance(inner, nn.Module) else network
