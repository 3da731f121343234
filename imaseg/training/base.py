"""The call shape that all training methods share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, distributed

from imaseg.frozen import Model
from imaseg.perturbations import Perturbation
from imaseg.registry import Registered
from imaseg.training.starts import Starts

Loss = Callable[[Any, Tensor], Tensor]


class TrainingMethod(Registered, ABC):
    """Computes the loss of one batch; the caller does backward and the optimiser's step.

    Args:
        loss: `loss(logits, label)` -> one value per sample (B,) or a scalar. It gets the model's output and the
            label exactly as given, so any MONAI, nnU-Net or own loss works.
        warm: keep where each case's search ended, for methods that start the next one there.

    Attributes:
        starts: where each case's last search ended, of methods that start the next one there.
    """

    starts: Starts | None = None

    def __init__(self, loss: Loss, *, warm: bool = False) -> None:
        self.loss = loss
        if warm:
            self.starts = Starts()

    @abstractmethod
    def __call__(self, model: Model, image: Tensor, label: Tensor, ids: Sequence[str] | None = None) -> Tensor:
        """Scalar loss of a batch, with the graph to the weights.

        Args:
            model: in train mode.
            image: (B, C, *spatial).
            label: as the loss takes it; methods that attack need a form that `imaseg.scores.encode` takes.
            ids: one name per sample, for methods that keep something per case.
        """

    @property
    def passes(self) -> int:
        """Forward-and-backward passes that one batch costs at most, the caller's own included."""
        return 1

    @property
    def replays(self) -> int:
        """How often the caller is to repeat each batch: loss, backward, optimiser's step."""
        return 1

    def end_epoch(self) -> None:
        """Tell the method that an epoch has ended."""
        if self.starts is not None:
            self.starts.end_epoch()

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to go on as if never interrupted; plain numbers, tensors and dicts."""
        return {} if self.starts is None else {"starts": self.starts.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` gave."""
        if self.starts is not None:
            self.starts.load_state_dict(state.get("starts", {}))

    def _mean_loss(self, model: Model, image: Tensor, label: Tensor) -> Tensor:
        return self.loss(model(image), label).mean()


def check_share(name: str, value: float) -> float:
    """A share in [0, 1].

    Raises:
        ValueError: if it is not.
    """
    if not 0 <= value <= 1:
        msg = f"{name} must be in [0, 1], got {value}."
        raise ValueError(msg)
    return value


def check_count(name: str, value: int, mend: str, *, at_least: int = 1) -> int:
    """A whole number.

    Raises:
        ValueError: if it is not, or is below `at_least`.
    """
    if not isinstance(value, int) or value < at_least:
        msg = f"{name} must be a whole number >= {at_least}, got {value}. {mend}"
        raise ValueError(msg)
    return value


def drawn_shares(count: int, seed: int) -> Tensor:
    """Shares (count,) of a budget, uniformly from (0, 1]; each rank of `torch.distributed` draws its own."""
    together = distributed.is_available() and distributed.is_initialized()
    rank = distributed.get_rank() if together else 0
    # Ranks with equal batches draw what one process would for all of them at once.
    return 1 - torch.rand((rank + 1) * count, generator=torch.Generator().manual_seed(seed))[rank * count :]


def check_still(perturbation: Perturbation, method: str) -> None:
    """Refuse a set that moves the label along.

    Raises:
        ValueError: if `perturbation` moves the label.
    """
    if perturbation.moves_label:
        msg = f"perturbation of {method} must leave the label in place, got {perturbation.name}. Use IMA or plain PGD."
        raise ValueError(msg)
