"""Free adversarial training: the backward pass that updates the weights also updates the perturbation.

    delta <- project(delta + eps * steepest(g)),   g = gradient of the training loss at the delta of the step before

No search is made: each batch is trained on several times, a backward pass for each. The next batch goes on from the
last perturbation if its shape is the same, as published. Shafahi et al., "Adversarial training for free!", NeurIPS
2019.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from imaseg.frozen import Model, as_plain_tensor
from imaseg.perturbations import Perturbation
from imaseg.training.base import Loss, check_count, check_label_fixed
from imaseg.training.mixed import _MixedTraining


class FreeTraining(_MixedTraining):
    """Trains on samples that the backward passes for the weights perturb, mixed with clean ones.

    Args:
        loss: see `TrainingMethod`.
        perturbation: what may change; its eps is the training budget and the length of each step.
        mix: weight of the adversarial loss, 0 to 1.
        replays: optimiser's steps on each batch, which the caller makes (`method.replays`); train for as many fewer
            epochs.
        ramp_epochs: epochs over which the budget grows linearly from eps / ramp_epochs to eps; 0 for fixed.
        random_eps: draw the budget of each sample at each step, uniformly between 0 and what it would be without.
        seed: seed of these draws.

    Raises:
        ValueError: if mix is outside [0, 1], ramp_epochs is negative, replays is below 1, or the set moves the label.
    """

    name = "free"

    def __init__(
        self,
        loss: Loss,
        perturbation: Perturbation,
        *,
        mix: float = 0.5,
        replays: int = 4,
        ramp_epochs: int = 0,
        random_eps: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(loss, perturbation, mix=mix, ramp_epochs=ramp_epochs, random_eps=random_eps, seed=seed)
        check_label_fixed(perturbation, "FreeTraining")
        self._replays = check_count("replays", replays, "Use 4.")
        self._params: Tensor | None = None

    @property
    def passes(self) -> int:
        return self.replays * (1 if self.mix == 1 else 2)

    @property
    def replays(self) -> int:
        return self._replays

    def _attacked(
        self, budget: Perturbation, model: Model, image: Tensor, label: Tensor, ids: Sequence[str] | None
    ) -> tuple[Tensor, Tensor]:
        """Return the image after one step of length eps, with the graph to the parameters, and the unchanged label."""
        image = as_plain_tensor(image)
        budget.check(image)
        self._params = self._stepped(budget, image).detach().requires_grad_()
        with torch.enable_grad():
            return budget.apply(image, self._params), label

    def _stepped(self, budget: Perturbation, image: Tensor) -> Tensor:
        """Move the last parameters along the gradient that the caller's backward pass left there."""
        params, before = budget.zeros(image), self._params
        if before is None or before.shape != params.shape:
            return params
        params = before.detach().to(params)
        if before.grad is not None:
            # The scale of mixed precision does not matter to a steepest-ascent step, but it may have overflowed.
            gradient = before.grad.to(params).nan_to_num(0.0, 0.0, 0.0)
            params = budget.step(params, gradient, budget.radius(image))
        return budget.project(image, params)

    def state_dict(self) -> dict[str, Any]:
        """Counters of ramp and random draws, the last parameters, and the gradient there, if any."""
        params = self._params
        kept = {} if params is None else {"params": params.detach()}
        if params is not None and params.grad is not None:
            kept["gradient"] = params.grad
        return {**super().state_dict(), "replay": kept}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        super().load_state_dict(state)
        kept = state["replay"]
        self._params = kept["params"].clone().requires_grad_() if "params" in kept else None
        if self._params is not None and "gradient" in kept:
            self._params.grad = kept["gradient"].clone()
