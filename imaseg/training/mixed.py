"""Base of PGD and free adversarial training: a mixed loss, and budgets that are fixed, ramped or random."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from imaseg.frozen import Model, unwrap_ddp
from imaseg.perturbations import Perturbation
from imaseg.training.base import Loss, LossOf, TrainingMethod, check_count, check_share, drawn_shares


class _MixedTraining(TrainingMethod):
    """loss = (1 - mix) L(clean) + mix L(perturbed); subclasses implement `_attacked`, which perturbs samples."""

    def __init__(
        self,
        loss: Loss,
        perturbation: Perturbation,
        *,
        mix: float,
        ramp_epochs: int,
        random_eps: bool,
        seed: int,
        warm: bool = False,
    ) -> None:
        super().__init__(loss, warm=warm)
        self.perturbation = perturbation
        self.mix = check_share("mix", mix)
        self.ramp_epochs = check_count("ramp_epochs", ramp_epochs, "Use 0 for a fixed budget.", at_least=0)
        self.random_eps = random_eps
        self.seed, self._epoch, self._calls = seed, 0, 0

    def loss_of(
        self,
        model: Model,
        image: Tensor,
        label: Tensor,
        ids: Sequence[str] | None = None,
        *,
        inside: Tensor | None = None,
    ) -> LossOf:
        """Perturb the batch."""
        self._calls += 1
        attacked, moved = self._attacked(self._budget(image).within(inside), model, image, label, ids)

        def loss_of(network: Model) -> Tensor:
            loss = self.mix * self._mean_loss(network, attacked, moved)
            return loss if self.mix == 1 else loss + (1 - self.mix) * self._mean_loss(unwrap_ddp(network), image, label)

        return loss_of

    @abstractmethod
    def _attacked(
        self, budget: Perturbation, model: Model, image: Tensor, label: Tensor, ids: Sequence[str] | None
    ) -> tuple[Tensor, Tensor]:
        """Return the perturbed images and their labels."""

    def _budget(self, image: Tensor) -> Perturbation:
        """The perturbation set with the budget of this batch."""
        radius = self.perturbation.radius(image) * self.ramp
        if self.random_eps:
            radius = radius * drawn_shares(len(image), self.seed + self._calls).to(radius)
        return self.perturbation.with_eps(radius)

    @property
    def ramp(self) -> float:
        """Share of eps that is used in this epoch."""
        return min(1.0, (self._epoch + 1) / self.ramp_epochs) if self.ramp_epochs else 1.0

    def end_epoch(self) -> None:
        """Advance the ramp and exchange warm starts among ranks."""
        super().end_epoch()
        self._epoch += 1

    def state_dict(self) -> dict[str, Any]:
        """Counters of ramp and random numbers, and the state of subclasses."""
        return {**super().state_dict(), "epoch": self._epoch, "calls": self._calls}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        super().load_state_dict(state)
        self._epoch, self._calls = int(state["epoch"]), int(state["calls"])
