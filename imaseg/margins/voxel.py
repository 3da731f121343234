"""Voxel margins: for each voxel the smallest budget at which its label flips.

method="attack": every evaluated perturbation counts for all voxels, whichever it was aimed at: the margin of each voxel
that is wrong there is at most its size. So each margin is an upper bound that can be reproduced. First
a sweep of attacks on all voxels over a ladder of budgets (`voxel_sweep`), then attacks on small groups of voxels, down
to single ones where the effort allows (`voxel_groups`, `voxel_focus`).

method="gradient": the first-order estimate of all voxels at once (`voxel_gradient`), fast, no bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from imaseg.attacks import PGD, Attack
from imaseg.attacks.base import checked
from imaseg.attacks.evaluate import Evaluator
from imaseg.frozen import Model, as_plain_tensor, frozen
from imaseg.margins.voxel_flips import Flips
from imaseg.margins.voxel_focus import Focus
from imaseg.margins.voxel_gradient import first_order
from imaseg.margins.voxel_groups import groups, structures
from imaseg.margins.voxel_sweep import Sweep
from imaseg.objectives import BalancedMaskedCE
from imaseg.perturbations import Perturbation

Method = Literal["attack", "gradient"]
_RUNG_STEPS = 4


@dataclass(frozen=True)
class VoxelMarginResult:
    """Margins of all voxels of a batch.

    Attributes:
        margin: (B, *spatial) float32 in the set's unit; 0 where `right` is False, eps where censored.
        censored: (B, *spatial) bool, True where no perturbation within eps was seen (or, for method "gradient", is
            expected) to flip the voxel.
        right: (B, *spatial) bool, voxels that are right on the clean image and not ignored.
        method: "attack", then margins are upper bounds, sizes of perturbations that flip the voxel; or "gradient",
            then they are first-order estimates on either side.
        forward_calls: forward passes of the model, forward-mode derivatives among them.
        backward_calls: backward passes; each pass covers the samples or copies in its batch.
    """

    margin: Tensor
    censored: Tensor
    right: Tensor
    method: Method
    forward_calls: int
    backward_calls: int


class VoxelMargin:
    """Smallest size within `perturbation` at which each voxel becomes wrong.

    A voxel of a region-based model is wrong when one of its channels is; a classifier has one voxel per sample. Where
    the set moves the label, a voxel is a position on the grid: wrong if what has moved there was right and now is not.

    Args:
        perturbation: set to search; its eps is the largest size looked at.
        method: "attack" for upper bounds, "gradient" for a first-order estimate in seconds.
        attack: search of each rung of the sweep; if not given, `PGD` with 4 steps on the cross-entropy of the voxels
            still right, every class counting alike. Only its own perturbation is replaced.
        rungs: budgets of the sweep.
        focus: number of groups of voxels of each sample that are attacked one by one, 0 for the sweep alone. As many as
            there are voxels means every voxel by itself.
        steps: gradients per group.
        rtol: how near to its boundary, along its last direction, a voxel attacked by itself is brought.
        batch_size: groups attacked at once, as copies of the sample.
        draws: forward-mode derivatives that method "gradient" takes.
        seed: seed of its directions.
        ignore_index: label value that does not count; if an attack is given, that of its objective.

    Raises:
        ValueError: if method is unknown, a number is out of range, or the attack has no fixed budget.

    >>> from imaseg.perturbations import Linf
    >>> weight = torch.tensor([[1.0, 1.0], [-1.0, -1.0]])  # gap z_0 - z_1 = 2 (x_0 + x_1)
    >>> image, label = torch.tensor([[1.0, 0.0]]), torch.tensor([0])
    >>> result = VoxelMargin(Linf(2.0), focus=1)(lambda x: x @ weight.T, image, label)
    >>> round(float(result.margin), 2)
    0.5
    """

    def __init__(
        self,
        perturbation: Perturbation,
        *,
        method: Method = "attack",
        attack: Attack | None = None,
        rungs: int = 36,
        focus: int = 1000,
        steps: int = 8,
        rtol: float = 0.05,
        batch_size: int = 8,
        draws: int = 64,
        seed: int = 0,
        ignore_index: int | None = None,
    ) -> None:
        if method not in ("attack", "gradient"):
            msg = f"method must be 'attack' or 'gradient', got {method!r}."
            raise ValueError(msg)
        lowest = {"rungs": 1, "focus": 0, "steps": 2, "batch_size": 1, "draws": 1}
        counts = {"rungs": rungs, "focus": focus, "steps": steps, "batch_size": batch_size, "draws": draws}
        for name, value in counts.items():
            if not isinstance(value, int) or value < lowest[name]:
                msg = f"{name} must be a whole number >= {lowest[name]}, got {value}."
                raise ValueError(msg)
        if not 0 < rtol < 1:
            msg = f"rtol must be in (0, 1), got {rtol}. Use 0.05."
            raise ValueError(msg)
        if attack is not None and attack.smallest:
            msg = f"attack must search at a fixed budget, got {attack.name}. Use PGD."
            raise ValueError(msg)
        self.perturbation, self.method, self.rungs, self.focus, self.steps = perturbation, method, rungs, focus, steps
        self.rtol, self.batch_size, self.draws, self.seed = rtol, batch_size, draws, seed
        self.ignore_index = ignore_index if attack is None else attack.objective.ignore_index
        default = PGD(perturbation, steps=_RUNG_STEPS, objective=BalancedMaskedCE(ignore_index=ignore_index))
        self.attack = (default if attack is None else attack).on(perturbation)

    def __call__(self, model: Model, image: Tensor, label: Tensor) -> VoxelMarginResult:
        """Measure the margins of all voxels of a batch, each sample on its own.

        Args:
            model: callable image -> logits; an nn.Module is searched in eval mode and left as it was.
            image: (B, C, *spatial) float.
            label: as in `imaseg.attacks.Attack`.

        Returns:
            Margin, censoring and initial rightness of each voxel.

        Raises:
            ValueError: if image is not floating, or image, label, logits, eps or bounds do not fit together; for method
                "gradient" if the set is none of L2, Linf, BiasField and Gamma, or the model has no derivative.
        """
        image, label = checked(image), as_plain_tensor(label)
        self.perturbation.check(image)
        with frozen(model):
            evaluator = self._evaluator(model, image, label, self.perturbation)
            flips = Flips(evaluator.clean_logits, evaluator.target, self.perturbation.radius(image))
            search = self._estimate if self.method == "gradient" else self._search
            forward, backward = search(evaluator, flips)
        return self._result(flips, evaluator.clean_logits, forward + evaluator.forward_calls, backward)

    def _search(self, evaluator: Evaluator, flips: Flips) -> tuple[int, int]:
        sweep = Sweep(evaluator.model, evaluator.image, evaluator.label, self.attack, flips)
        sweep.run(self.rungs)
        forward, backward = sweep.forward_calls, sweep.backward_calls
        kinds = structures(evaluator.target)
        for sample in range(len(evaluator.image)) if self.focus else ():
            targets = groups(kinds[sample], flips.right[sample], evaluator.clean_logits.shape[2:], self.focus)
            if targets:
                copies = self._copies(evaluator, sample, min(len(targets), self.batch_size))
                for first in range(0, len(targets), self.batch_size):
                    batch = targets[first : first + self.batch_size]
                    Focus(copies, flips, sample, batch, steps=self.steps, rtol=self.rtol).run()
                forward, backward = forward + copies.forward_calls, backward + copies.backward_calls
        return forward, backward

    def _estimate(self, evaluator: Evaluator, flips: Flips) -> tuple[int, int]:
        estimate = first_order(
            evaluator.model,
            evaluator.image,
            evaluator.target,
            flips.right,
            self.perturbation,
            draws=self.draws,
            seed=self.seed,
        )
        flips.size = estimate.margin.masked_fill(estimate.margin > flips.ceiling[:, None], torch.inf)
        return estimate.forward_calls, 0

    def _copies(self, evaluator: Evaluator, sample: int, number: int) -> Evaluator:
        """An evaluator of copies of one sample."""
        index = torch.tensor([sample], device=evaluator.image.device)
        image, label = (
            tensor[index].expand(number, *tensor.shape[1:]) for tensor in (evaluator.image, evaluator.label)
        )
        return self._evaluator(evaluator.model, image, label, self.perturbation.take(index))

    def _evaluator(self, model: Model, image: Tensor, label: Tensor, perturbation: Perturbation) -> Evaluator:
        return Evaluator(
            model,
            image,
            label,
            perturbation,
            ignore_index=self.ignore_index,
            samples=self.attack.samples,
            seed=self.attack.seed,
        )

    def _result(self, flips: Flips, logits: Tensor, forward: int, backward: int) -> VoxelMarginResult:
        shape = (len(logits), *logits.shape[2:])
        return VoxelMarginResult(
            margin=flips.margin.reshape(shape),
            censored=flips.standing.reshape(shape),
            right=flips.right.reshape(shape),
            method=self.method,
            forward_calls=forward,
            backward_calls=backward,
        )
