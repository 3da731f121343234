"""Adversarial training at a fixed or ramped budget: loss = (1 - mix) L(clean) + mix L(PGD).

mix = 1 is Madry et al., ICLR 2018; mix = 0.5 is the half-and-half control that IMA has to beat. `steps` + 1 backward
passes per batch (the last one the caller's, over both halves). With `random_eps` every sample has a budget of its own
at every visit (`random_eps`: Kurakin et al., "Adversarial machine learning at scale", ICLR 2017, theirs from a
truncated normal distribution, here a uniform one).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from imaseg.attacks import PGD
from imaseg.attacks.base import checked
from imaseg.frozen import Model
from imaseg.objectives import Objective
from imaseg.perturbations import Perturbation
from imaseg.training.base import Loss
from imaseg.training.ids import case_ids
from imaseg.training.mixed import _MixedTraining


class PGDTraining(_MixedTraining):
    """Trains on PGD samples, mixed with clean ones.

    Args:
        loss: see `TrainingMethod`.
        perturbation: what may change; its eps is the training budget.
        mix: weight of the adversarial loss, 0 to 1.
        steps: number of PGD steps.
        ramp_epochs: epochs over which the budget grows linearly from eps / ramp_epochs to eps; 0 for fixed.
        random_eps: draw the budget of each sample at each visit, uniformly between 0 and what it would be without.
        warm: start each search where the case's last one ended, so that fewer steps suffice; `ids` are required then,
            unless the image's meta has them. As in `IMA`.
        objective: what PGD maximises, `Dice()` if not given.
        seed: seed of the random starts.

    Raises:
        ValueError: if mix is outside [0, 1] or ramp_epochs is negative.
    """

    def __init__(
        self,
        loss: Loss,
        perturbation: Perturbation,
        *,
        mix: float = 0.5,
        steps: int = 8,
        ramp_epochs: int = 0,
        random_eps: bool = False,
        warm: bool = False,
        objective: Objective | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(
            loss, perturbation, mix=mix, ramp_epochs=ramp_epochs, random_eps=random_eps, seed=seed, warm=warm
        )
        self.attack = PGD(perturbation, steps=steps, objective=objective)

    @property
    def searches(self) -> int:
        return self.attack.steps

    @property
    def passes(self) -> int:
        return self.attack.steps + (1 if self.mix == 1 else 2)

    def _attacked(
        self, budget: Perturbation, model: Model, image: Tensor, label: Tensor, ids: Sequence[str] | None
    ) -> tuple[Tensor, Tensor]:
        seed, start = self.seed + self._calls, None
        if self.starts is not None:
            names, plain_image = case_ids(image, ids), checked(image)
            start = self.starts.begin(names, plain_image, budget, seed)
        result = self.attack.on(budget, seed=seed)(model, image, label, start=start)
        if self.starts is not None:
            self.starts.keep(names, plain_image, result.params)
        return result.image, result.label
