"""Adversarial training at a fixed or ramped budget: loss = (1 - mix) L(clean) + mix L(PGD).

mix = 1 is Madry et al., ICLR 2018; mix = 0.5 is the half-and-half control that IMA has to beat. `steps` + 1 backward
passes per batch (the last one the caller's, over both halves).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from imaseg.attacks import PGD
from imaseg.frozen import Model
from imaseg.objectives import Objective
from imaseg.perturbations import Perturbation
from imaseg.training.base import Loss, TrainingMethod, check_share


class PGDTraining(TrainingMethod):
    """Trains on PGD samples, mixed with clean ones.

    Args:
        loss: see `TrainingMethod`.
        perturbation: what may change; its eps is the training budget.
        mix: weight of the adversarial loss, 0 to 1.
        steps: of PGD.
        ramp_epochs: epochs over which the budget grows linearly from eps / ramp_epochs to eps; 0 for fixed.
        objective: what PGD maximises, `Dice()` if not given.
        seed: of the random starts.

    Raises:
        ValueError: if mix is outside [0, 1] or ramp_epochs negative.
    """

    def __init__(
        self,
        loss: Loss,
        perturbation: Perturbation,
        *,
        mix: float = 0.5,
        steps: int = 8,
        ramp_epochs: int = 0,
        objective: Objective | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(loss)
        if ramp_epochs < 0:
            msg = f"ramp_epochs must be >= 0, got {ramp_epochs}. Use 0 for a fixed budget."
            raise ValueError(msg)
        self.mix = check_share("mix", mix)
        self.ramp_epochs = ramp_epochs
        self.attack = PGD(perturbation, steps=steps, objective=objective)
        self.seed, self._epoch, self._calls = seed, 0, 0

    def __call__(self, model: Model, image: Tensor, label: Tensor, ids: Sequence[str] | None = None) -> Tensor:
        """Mixed loss of the batch."""
        self._calls += 1
        perturbation = self.attack.perturbation
        budget = perturbation.with_eps(perturbation.radius(image) * self.ramp)
        attacked = self.attack.on(budget, seed=self.seed + self._calls)(model, image, label)
        loss = self.mix * self._mean_loss(model, attacked.image, attacked.label)
        return loss if self.mix == 1 else loss + (1 - self.mix) * self._mean_loss(model, image, label)

    @property
    def passes(self) -> int:
        return self.attack.steps + (1 if self.mix == 1 else 2)

    @property
    def ramp(self) -> float:
        """Share of eps that this epoch trains with."""
        return min(1.0, (self._epoch + 1) / self.ramp_epochs) if self.ramp_epochs else 1.0

    def end_epoch(self) -> None:
        """Move the ramp on."""
        self._epoch += 1

    def state_dict(self) -> dict[str, Any]:
        """Counters that rule ramp and random starts."""
        return {"epoch": self._epoch, "calls": self._calls}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` gave."""
        self._epoch, self._calls = int(state["epoch"]), int(state["calls"])
