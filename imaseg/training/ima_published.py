"""IMA as the authors' segmentation code has it, to reproduce their procedure.

    broken: the best class is below 0.6        ascent: 20 steps of 0.2 margins
    start: at the margin less one increment    boundary: 10 bisections
    a case grows if any visit of the epoch left it unbroken; no floor under the margins

Ma & Liang, CMPB 2023; https://github.com/SarielMa/Increasing-Margin-Adversarial-Training, commit c3f6df0, folder
`segmentation`. What remains different: the search runs in eval mode (theirs in train mode; the same for InstanceNorm
without dropout); a sample leaves the ascent once it is broken, since its later iterates are not used there either; of
the visits of an epoch those that left a case unbroken do not enter its distance; the end of the bisection that is
trained on is the broken one; all samples of a batch start in one direction, so that no result depends on the batch.
"""

from __future__ import annotations

import torch
from torch import Tensor

from imaseg.attacks import PGD
from imaseg.margins.criteria import MaxDiceBelow
from imaseg.objectives import DiceCE
from imaseg.perturbations import L2, Perturbation
from imaseg.perturbations.base import draw, expand
from imaseg.training.base import Loss
from imaseg.training.ima import IMA
from imaseg.training.margin_table import MarginTable

STEPS, ALPHA, BISECTIONS, THRESHOLD = 20, 4.0, 10, 0.6


class PublishedIMA(IMA):
    """IMA by the authors' settings; see `IMA`, also for what differs from it.

    Args:
        loss: see `TrainingMethod`; the authors use Dice and cross-entropy.
        perturbation: `L2`; its eps is the ceiling. The authors bound the norm, not the RMS.
        increment: growth of an unbroken case per epoch, in the set's unit; eps / 10 if not given.
        beta: weight of the perturbed loss.
        seed: seed of the random starts.

    Raises:
        ValueError: if the set is not `L2`, or an argument is out of its range.
    """

    name = "ima-published"

    def __init__(
        self,
        loss: Loss,
        perturbation: Perturbation,
        *,
        increment: float | None = None,
        beta: float = 0.5,
        seed: int = 0,
    ) -> None:
        if not isinstance(perturbation, L2):
            msg = f"perturbation of {self.name} must be l2, as published, got {perturbation.name}. Use ima."
            raise ValueError(msg)
        super().__init__(
            loss,
            perturbation,
            increment=increment,
            criterion=MaxDiceBelow(THRESHOLD, empty=True),
            beta=beta,
            steps=STEPS,
            bisections=BISECTIONS,
            seed=seed,
        )
        self.attack = PGD(perturbation, steps=STEPS, objective=DiceCE(), step_size=ALPHA / STEPS, decay=0.0)
        self.table = MarginTable(self.table.increment, self.table.ceiling, floor=0.0, any_visit=True)

    def _start(self, ids: list[str], image: Tensor, perturbation: Perturbation, seed: int) -> Tensor:
        """A random direction, as long as the margin less one increment, but at least one increment."""
        increment, radius = self.table.increment, perturbation.radius(image)
        length = torch.minimum((radius - increment).clamp(min=increment), radius)
        direction = perturbation.step(
            perturbation.zeros(image),
            draw(image, torch.Generator().manual_seed(seed), gaussian=False),
            torch.ones_like(length),
        )
        return perturbation.project(image, direction * expand(length, direction))
