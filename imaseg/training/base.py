"""The interface that all training methods share."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, distributed

from imaseg.frozen import Model
from imaseg.perturbations import Perturbation
from imaseg.registry import Registered
from imaseg.training.starts import Starts

Loss = Callable[[Any, Tensor], Tensor]
LossOf = Callable[[Model], Tensor]


class TrainingMethod(Registered, ABC):
    """Computes the loss of one batch; the caller runs the backward pass and the optimiser's step.

    Args:
        loss: `loss(logits, label)` -> one value per sample (B,) or a scalar. It gets the model's output and the
            label exactly as given, so any MONAI, nnU-Net or own loss works.
        warm: store where each case's search ended, for methods that start the next one there.

    Attributes:
        starts: where each case's last search ended, for methods that start the next one there.
    """

    starts: Starts | None = None

    def __init__(self, loss: Loss, *, warm: bool = False) -> None:
        self.loss = loss
        if warm:
            self.starts = Starts()

    def __call__(
        self,
        model: Model,
        image: Tensor,
        label: Tensor,
        ids: Sequence[str] | None = None,
        *,
        inside: Tensor | None = None,
    ) -> Tensor:
        """Return the scalar loss of a batch, with the graph to the weights.

        Args:
            model: the model, in train mode.
            image: (B, C, *spatial).
            label: as the loss takes it; methods that attack need a form that `imaseg.scores.encode` takes.
            ids: one name per sample, for methods that keep something per case.
            inside: boolean mask (B, 1, *spatial) of what is image and no padding; only there is it perturbed, and only
                these voxels count in an RMS. None for images without padding.
        """
        if type(self).loss_of is TrainingMethod.loss_of:
            msg = f"{type(self).__name__} must define loss_of or __call__."
            raise NotImplementedError(msg)
        return self.loss_of(model, image, label, ids, inside=inside)(model)

    def loss_of(
        self,
        model: Model,
        image: Tensor,
        label: Tensor,
        ids: Sequence[str] | None = None,
        *,
        inside: Tensor | None = None,
    ) -> LossOf:
        """Search what the batch trains on; arguments as of a call, which this and the result make up.

        Returns:
            The scalar loss of a model on what was found, as a function of the model: of the one that was searched, or
            of the same one at other weights (`adversarial_weights`).
        """
        return lambda network: self(network, image, label, ids, inside=inside)

    @property
    def passes(self) -> int:
        """Largest number of forward-and-backward passes per batch, the caller's own included."""
        return 1

    @property
    def searches(self) -> int:
        """How many of `passes` ask for the gradient of the image alone."""
        return 0

    @property
    def replays(self) -> int:
        """How many times the caller must repeat each batch: loss, backward pass, optimiser's step."""
        return 1

    def set_voxel_volume(self, volume: float) -> None:
        """Say how large a voxel of the images is in mm3, for criteria that limit a volume."""

    def end_epoch(self) -> None:
        """End an epoch; the caller must call this once per epoch."""
        if self.starts is not None:
            self.starts.end_epoch()

    @property
    def remarks(self) -> dict[str, str]:
        """What is wrong with the epoch that has ended, each with the mend, by the setting that it is about."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """State needed to resume exactly; plain numbers, tensors and dicts."""
        return {} if self.starts is None else {"starts": self.starts.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        if self.starts is not None:
            self.starts.load_state_dict(state.get("starts", {}))

    def _mean_loss(self, model: Model, image: Tensor, label: Tensor) -> Tensor:
        return self.loss(model(image), label).mean()


def check_share(name: str, value: float) -> float:
    """Raise unless `value` is within [0, 1].

    Raises:
        ValueError: if it is not.
    """
    if not 0 <= value <= 1:
        msg = f"{name} must be in [0, 1], got {value}."
        raise ValueError(msg)
    return value


def check_count(name: str, value: int, advice: str, *, at_least: int = 1) -> int:
    """Raise unless `value` is a whole number that is large enough.

    Raises:
        ValueError: if it is not, or is below `at_least`.
    """
    if not isinstance(value, int) or value < at_least:
        msg = f"{name} must be a whole number >= {at_least}, got {value}. {advice}"
        raise ValueError(msg)
    return value


def drawn_shares(count: int, seed: int) -> Tensor:
    """Draw shares (count,) of a budget uniformly from (0, 1]; each rank of `torch.distributed` draws its own."""
    together = distributed.is_available() and distributed.is_initialized()
    rank = distributed.get_rank() if together else 0
    # The ranks together draw what one process would draw for all samples at once, if their batches are of equal size.
    return 1 - torch.rand((rank + 1) * count, generator=torch.Generator().manual_seed(seed))[rank * count :]


def check_label_fixed(perturbation: Perturbation, method: str) -> None:
    """Raise if a perturbation set moves the label along with the image.

    Raises:
        ValueError: if `perturbation` moves the label.
    """
    if perturbation.moves_label:
        msg = f"perturbation of {method} must leave the label in place, got {perturbation.name}. Use IMA or plain PGD."
        raise ValueError(msg)
