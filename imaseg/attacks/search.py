"""The ground an attack walks on: it evaluates points, counts passes and keeps each sample's worst one.

An attack asks for `gradient` and `ascend`; whatever it does in between, the best iterate, the budget, per-sample
bookkeeping and the counters are kept here, so that a new attack cannot get them wrong.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from imaseg.attacks.result import AttackResult, measure
from imaseg.frozen import Model, full_resolution
from imaseg.objectives import Objective
from imaseg.perturbations import Perturbation
from imaseg.perturbations.base import expand
from imaseg.scores import Target, decide, dice_of, encode

Until = Callable[[Tensor, Tensor, Tensor], Tensor]


class Search:
    """State of one attack on one batch.

    Worse means: lower mean foreground hard Dice; among equals, a higher objective. A sample is finished, and
    leaves the batch, once `until` holds for it or, without `until`, once its Dice is 0.

    Args:
        model: image (B, C, *spatial) -> logits, held still by the caller (`imaseg.frozen`).
        image: (B, C, *spatial), float32 or float64.
        label: as in `imaseg.scores.encode`.
        perturbation: the set to search.
        objective: what is maximised.
        seed: of all random starts.
        until: `until(logits, label, clean_logits) -> (B,) bool`, the criterion that finishes a sample.
        start: parameters from which the first restart begins, instead of random ones.
    """

    def __init__(
        self,
        model: Model,
        image: Tensor,
        label: Tensor,
        perturbation: Perturbation,
        objective: Objective,
        *,
        seed: int = 0,
        until: Until | None = None,
        start: Tensor | None = None,
    ) -> None:
        perturbation.check(image)
        self.model, self.image, self.label = model, image, label
        self.perturbation, self.objective, self.until = perturbation, objective, until
        self.seed, self.start = seed, start
        self.generator = torch.Generator().manual_seed(seed)
        self.forward_calls = self.backward_calls = 0
        self._everyone = torch.arange(len(image), device=image.device)
        self._zero, self._nonfinite = (torch.zeros(len(image), device=image.device) for _ in range(2))
        self._gradients = torch.zeros(len(image), device=image.device)
        self._score_clean()

    def _score_clean(self) -> None:
        params = self.perturbation.zeros(self.image)
        with torch.no_grad():
            self.clean_logits = self._forward(self.image)
            self.target = encode(self.clean_logits, self.label, ignore_index=self.objective.ignore_index)
            self.objective_clean = self.objective.of(self.clean_logits, self.target)
            self.dice_clean = dice_of(self.clean_logits, self.target)
        self.foreground_clean = self._foreground(self.dice_clean)
        self.best = params.clone()
        self.last_good = params.clone()
        self.last = params.clone()
        self._best_objective, self._best_dice = self.objective_clean.clone(), self.foreground_clean.clone()
        self.met = self._judge(self.clean_logits, self._everyone)
        self.failed_clean = self.met.clone()

    @property
    def active(self) -> Tensor:
        """Indices of the samples still searched."""
        finished = self.met if self.until is not None else self._best_dice <= 0
        return self._everyone[~finished]

    @property
    def done(self) -> bool:
        """Whether every sample is finished."""
        return not len(self.active)

    def begin(self, restart: int, *, random: bool = True) -> Tensor:
        """Parameters a restart starts from: the warm start, a random point of the set, or no change."""
        if restart == 0 and self.start is not None:
            return self.perturbation.project(self.image, self.start)
        if random or restart > 0:
            return self.perturbation.init(self.image, self.generator)
        return self.perturbation.zeros(self.image)

    def ascend(self, params: Tensor, gradient: Tensor, length: Tensor) -> Tensor:
        """A steepest-ascent step of `length` (B,), projected back into the set."""
        return self.perturbation.project(self.image, self.perturbation.step(params, gradient, length))

    def score(self, params: Tensor, progress: float = 1.0) -> None:
        """Evaluate a point (forward pass only) and remember it where it is the worst so far."""
        index = self.active
        if len(index):
            with torch.no_grad():
                logits = self._forward(self._apply(params[index], index))
                values = self.objective.of(logits, self._target(index), progress)
            self._record(index, params, logits, values)

    def gradient(self, params: Tensor, progress: float = 1.0) -> Tensor:
        """Evaluate a point and return the gradient of the objective; zero for finished samples.

        Returns:
            Tensor like `params`; infinite and undefined values are replaced by 0 and counted.
        """
        full = torch.zeros_like(params)
        index = self.active
        if not len(index):
            return full
        leaf = params[index].detach().requires_grad_()
        with torch.enable_grad():
            logits = self._forward(self._apply(leaf, index))
            values = self.objective.of(logits, self._target(index), progress)
            self._record(index, params, logits.detach(), values.detach())
            if self.done:
                return full
            if torch.is_autocast_enabled(leaf.device.type) or logits.dtype.itemsize < 4:
                found = self._scaled_gradient(logits, leaf, index, progress)
            else:
                (found,) = torch.autograd.grad(values.sum(), leaf)
        self.backward_calls += 1
        full[index] = self._counted(found, index)
        return full

    def result(self) -> AttackResult:
        """The worst point of each sample, projected and scored once more."""
        params = self.perturbation.project(self.image, self.best)
        with torch.no_grad():
            image = self.perturbation.apply(self.image, params)
            logits = self._forward(image)
            objective = self.objective.of(logits, self.target)
            dice = dice_of(logits, self.target)
        seen = self._gradients.clamp(min=1)
        return AttackResult(
            image=image,
            params=params,
            size=self.perturbation.size(params),
            objective=objective,
            objective_clean=self.objective_clean,
            dice=dice,
            dice_clean=self.dice_clean,
            foreground_dice=self._foreground(dice),
            foreground_dice_clean=self.foreground_clean,
            prediction=prediction_of(logits, self.target),
            met=self.met if self.until is None else self._judge(logits, self._everyone),
            sizes=measure(image - self.image, self.image),
            seed=self.seed,
            forward_calls=self.forward_calls,
            backward_calls=self.backward_calls,
            zero_gradients=self._zero / seen,
            nonfinite_gradients=self._nonfinite / seen,
        )

    def broken(self, params: Tensor, index: Tensor) -> Tensor:
        """Whether `until` holds at params (len(index), ...) of the samples `index`; one forward pass."""
        with torch.no_grad():
            return self._judge(self._forward(self._apply(params, index)), index)

    def _forward(self, image: Tensor) -> Tensor:
        self.forward_calls += 1
        return full_resolution(self.model(image))

    def _apply(self, params: Tensor, index: Tensor) -> Tensor:
        return self.perturbation.take(index).apply(self.image[index], params)

    def _target(self, index: Tensor) -> Target:
        return Target(self.target.onehot[index], self.target.valid[index], self.target.regions)

    def _foreground(self, dice: Tensor) -> Tensor:
        return dice[:, self.target.foreground].mean(1)

    def _judge(self, logits: Tensor, index: Tensor) -> Tensor:
        if self.until is None:
            return torch.zeros(len(index), dtype=torch.bool, device=logits.device)
        return self.until(logits, self.label[index], self.clean_logits[index])

    def _record(self, index: Tensor, params: Tensor, logits: Tensor, values: Tensor) -> None:
        dice = self._foreground(dice_of(logits, self._target(index)))
        worst_dice, worst_value = self._best_dice[index], self._best_objective[index]
        met = self._judge(logits, index)
        better = (dice < worst_dice) | ((dice == worst_dice) & (values > worst_value)) | met
        chosen = index[better]
        self.best[chosen] = params[chosen].detach()
        self._best_dice[chosen], self._best_objective[chosen] = (
            dice[better],
            values[better].to(self._best_objective),
        )
        self.last[index] = params[index].detach()
        self.last_good[index[~met]] = params[index[~met]].detach()
        self.met[index] = met

    def _scaled_gradient(self, logits: Tensor, leaf: Tensor, index: Tensor, progress: float) -> Tensor:
        """Gradient through layers in half precision, where means over millions of voxels underflow.

        Each sample's gradient at the logits is found in float32 and scaled to a largest value of 1 before it goes
        back through the model.
        """
        wide = logits.detach().float().requires_grad_()
        with torch.autocast(leaf.device.type, enabled=False):
            (at_logits,) = torch.autograd.grad(self.objective.of(wide, self._target(index), progress).sum(), wide)
        largest = at_logits.flatten(1).abs().amax(1)
        largest = expand(largest.where(largest > 0, 1.0), at_logits)
        (found,) = torch.autograd.grad(logits, leaf, grad_outputs=(at_logits / largest).to(logits.dtype))
        return found * expand(largest, found)

    def _counted(self, gradient: Tensor, index: Tensor) -> Tensor:
        finite = torch.isfinite(gradient)
        gradient = gradient.where(finite, 0.0)
        self._nonfinite[index] += (~finite).flatten(1).float().mean(1)
        self._zero[index] += ((gradient == 0) & finite).flatten(1).float().mean(1)
        self._gradients[index] += 1
        return gradient


def prediction_of(logits: Tensor, target: Target) -> Tensor:
    """Decided label (B, *spatial), or (B, K, *spatial) bool for region-based models."""
    if target.regions:
        return decide(logits, regions=True).reshape(logits.shape)
    return logits.max(1).indices
