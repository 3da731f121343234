"""Training on clean samples only, with the interface of the robust methods."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from imaseg.frozen import Model
from imaseg.training.base import Loss, LossOf, TrainingMethod


class Standard(TrainingMethod):
    """Loss of the clean batch; see `TrainingMethod`."""

    def __init__(self, loss: Loss) -> None:
        super().__init__(loss)  # nothing is searched, so nothing can start warm

    def loss_of(
        self,
        model: Model,
        image: Tensor,
        label: Tensor,
        ids: Sequence[str] | None = None,
        *,
        inside: Tensor | None = None,
    ) -> LossOf:
        """Search nothing."""
        return lambda network: self._mean_loss(network, image, label)
