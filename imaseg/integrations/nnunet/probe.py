"""Tracks robustness during training: Dice of a few validation batches under attack, smoothed like nnU-Net's own."""

from __future__ import annotations

from typing import Any

from torch import Tensor, distributed

from imaseg.attacks import PGD
from imaseg.frozen import Model
from imaseg.perturbations import Perturbation

_KEPT = 0.9  # weight of the past in the moving average, as in nnU-Net's pseudo Dice


class RobustProbe:
    """Mean foreground Dice under PGD over the first validation batches of each epoch.

    Args:
        model: model to attack.
        perturbation: set and budget.
        steps: number of PGD steps.
        batches: attacked per epoch.

    Attributes:
        latest: mean Dice of the last epoch.
        average: exponential moving average over epochs.
        best: highest average so far.
    """

    def __init__(self, model: Model, perturbation: Perturbation, *, steps: int, batches: int) -> None:
        self.attack, self.model, self.batches = PGD(perturbation, steps=steps), model, batches
        self.latest = self.average = self.best = float("nan")
        self._dice: list[float] = []
        self._looked = 0

    @property
    def wanted(self) -> bool:
        """Whether another batch of this epoch should be attacked."""
        return self._looked < self.batches

    def start_epoch(self) -> None:
        """Start a new epoch without results."""
        self._dice, self._looked = [], 0

    def attack_batch(self, image: Tensor, label: Tensor) -> None:
        """Attack a batch and keep its Dice."""
        self._dice += self.attack(self.model, image, label).foreground_dice.tolist()
        self._looked += 1

    def end_epoch(self) -> bool:
        """Average over the batches of all ranks; returns whether the moving average is the best so far."""
        dice = self._dice
        if distributed.is_available() and distributed.is_initialized():
            gathered: list[Any] = [None] * distributed.get_world_size()
            distributed.all_gather_object(gathered, dice)
            dice = [value for part in gathered for value in part]
        self.latest = sum(dice) / max(len(dice), 1)
        has_average = self.average == self.average  # not NaN
        self.average = _KEPT * self.average + (1 - _KEPT) * self.latest if has_average else self.latest
        improved = not self.average <= self.best
        self.best = self.average if improved else self.best
        return improved

    def state_dict(self) -> dict[str, float]:
        """State for checkpoints."""
        return {"latest": self.latest, "average": self.average, "best": self.best}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Restore what `state_dict` returned."""
        self.latest, self.average, self.best = (float(state[name]) for name in ("latest", "average", "best"))
