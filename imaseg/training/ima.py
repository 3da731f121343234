"""Increasing-Margin Adversarial training: each case is perturbed just as far as its own decision boundary.

    for each case i with margin E_i: ascend inside the ball of radius E_i; if an iterate breaks the criterion, bisect
    between the last good and the first bad one on to the boundary;
    loss = (1 - beta) L(clean) + beta L(perturbed);
    at epoch end E_i grows by one increment if case i was never broken, else moves to the boundary distance.

Ma & Liang, "Increasing-Margin Adversarial (IMA) training to improve adversarial robustness of neural networks",
CMPB 2023, arXiv 2005.09147. Differences from the published code: empty structures score 1, not 0; the criterion is the
mean over foreground classes, not the best class; a case is "never broken" only if no visit of the epoch broke it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from imaseg.attacks import PGD
from imaseg.attacks.search import Search, Until
from imaseg.frozen import Model, frozen, plain
from imaseg.margins.bisection import bisect
from imaseg.margins.criteria import DiceBelow, leading_to
from imaseg.objectives import Objective
from imaseg.perturbations import Perturbation
from imaseg.training.base import Loss, TrainingMethod, check_share
from imaseg.training.margin_table import MarginTable


class IMA(TrainingMethod):
    """IMA training; see `TrainingMethod` for the call shape. `ids` are required.

    Args:
        loss: the model's own training loss, `loss(logits, label)` -> (B,) or scalar.
        perturbation: what may change; its eps (one float) is the ceiling of the margins. In 3D use
            `L2(eps, unit="rms")`, so that a margin does not depend on the patch size.
        increment: growth of an unbroken case per epoch, in the set's unit; eps / 10 if not given.
        criterion: `(logits, label, clean_logits) -> (B,) bool`; `DiceBelow(0.6)` if not given.
        beta: weight of the perturbed loss, 0 to 1.
        steps: ascent steps at most; a broken case stops early.
        bisections: forward passes spent on placing a broken case on the boundary.
        smoothing: weight of the newest boundary distance in the margin.
        objective: what the ascent maximises; the loss that leads to the criterion if not given.
        seed: of the random starts.

    Raises:
        ValueError: if an argument is out of its range.
    """

    def __init__(
        self,
        loss: Loss,
        perturbation: Perturbation,
        *,
        increment: float | None = None,
        criterion: Until | None = None,
        beta: float = 0.5,
        steps: int = 8,
        bisections: int = 4,
        smoothing: float = 0.5,
        objective: Objective | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(loss)
        if isinstance(perturbation.eps, Tensor) and perturbation.eps.numel() != 1:
            msg = f"eps of IMA's perturbation must be one number (the ceiling of all margins), got {perturbation.eps}."
            raise ValueError(msg)
        ceiling = float(perturbation.eps)
        self.beta = check_share("beta", beta)
        self.criterion = criterion if criterion is not None else _default_criterion(objective)
        if not isinstance(bisections, int) or bisections < 0:
            msg = f"bisections must be a whole number >= 0, got {bisections}. Use 4."
            raise ValueError(msg)
        self.bisections = bisections
        leading = objective if objective is not None else leading_to(self.criterion)
        self.attack = PGD(perturbation, steps=steps, objective=leading)
        self.table = MarginTable(increment if increment is not None else ceiling / 10, ceiling, smoothing=smoothing)
        self.last_epoch: dict[str, float] = {}
        self.seed, self._calls = seed, 0

    def __call__(self, model: Model, image: Tensor, label: Tensor, ids: Sequence[str] | None = None) -> Tensor:
        """Mixed loss of the batch; notes in `margins` how far each case could be pushed.

        Raises:
            ValueError: if ids are missing or not one per sample.
        """
        if ids is None or len(ids) != len(image):
            msg = f"ids must name each of the {len(image)} samples, got {ids!r}. IMA keeps one margin per case."
            raise ValueError(msg)
        perturbed, moved = self._perturb(model, image, label, list(ids))
        loss = (1 - self.beta) * self._mean_loss(model, image, label)
        return loss + self.beta * self._mean_loss(model, perturbed, moved)

    @property
    def passes(self) -> int:
        return self.attack.steps + 2

    @property
    def margins(self) -> dict[str, float]:
        """Current margin by case id, in the set's unit."""
        return dict(self.table.margins)

    def end_epoch(self) -> None:
        """Grow the margins of unbroken cases, move those of broken ones; summary in `last_epoch`."""
        self.last_epoch = self.table.end_epoch()

    def state_dict(self) -> dict[str, Any]:
        """Margins and the counter that rules the random starts."""
        return {"table": self.table.state_dict(), "calls": self._calls}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` gave."""
        self.table.load_state_dict(state["table"])
        self._calls = int(state["calls"])

    def _perturb(self, model: Model, image: Tensor, label: Tensor, ids: list[str]) -> tuple[Tensor, Tensor]:
        """Each sample at its margin, or on its boundary if that is nearer, and the label that goes with it."""
        self._calls += 1
        image, label = plain(image), plain(label)
        perturbation = self.attack.perturbation.with_eps(self.table.look_up(ids))
        with frozen(model):
            search = Search(
                model,
                image,
                label,
                perturbation,
                self.attack.objective,
                seed=self.seed + self._calls,
                until=self.criterion,
            )
            self.attack._run(search)
            index = search.met.nonzero()[:, 0]
            params = search.last.clone()
            # A case whose clean image fails already has good == bad == "no change": it trains on itself.
            params[index] = bisect(search, search.last_good[index], search.best[index], index, self.bisections)
        self.table.record(ids, perturbation.size(params).tolist(), search.met.tolist())
        with torch.no_grad():
            return perturbation.apply(image, params), search.label_of(params)


def _default_criterion(objective: Objective | None) -> DiceBelow:
    return DiceBelow(0.6, ignore_index=objective.ignore_index if objective is not None else None)
