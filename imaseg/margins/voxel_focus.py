"""Attacks aimed at small groups of voxels, many copies of one case at a time; they refine a map of voxel margins.

An attack on all voxels spreads a shared budget and lands far above the margin of each. Here every copy has a group of
its own, in the limit one voxel. With f the objective (minus the mean gap), g its gradient and z(s) the steepest step of
length s from "no change", projected:

1. from no change, z(s) 1.5 times as far as where the linear model has f = 0, so that a boundary just behind is not
   missed;
2. once flipped, z(s) to where the new linear model has f = 0 (the step of Hasofer & Lind, 1974, in the geometry of the
   set; exact for linear models, bounds included);
3. steepest steps within a radius that shrinks where the group is flipped and grows where it is not (DDN, Rony et al.,
   CVPR 2019; FMN, Pintor et al., NeurIPS 2021).

The result is then drawn back to the boundary (single voxels) or scaled down and up (groups, whose voxels flip at
different sizes), forward passes only. All voxels that any evaluated point flips are noted, aimed at or not.

Per batch of groups `steps` backward passes, up to two more for single voxels of models with several classes, and up
to 7 more forward than backward passes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from imaseg.attacks.evaluate import Evaluator, Point
from imaseg.margins.voxel_aim import _Group, _Rival
from imaseg.margins.voxel_flips import Flips, wrong_at
from imaseg.objectives import Objective
from imaseg.perturbations import Perturbation
from imaseg.perturbations.base import expand

_FURTHER, _OVER, _GROW, _AHEAD = 1.5, 1.003, 1.5, 1.1
_FINEST = 0.1
_RIVALS = 3
_LONGEST = 1e3
_HALVINGS = 12
_SCAN = (0.5, 0.63, 0.8, 1.25, 1.6, 2.2)
_DRAW_BACK = 6
_TINY = 1e-30


@dataclass
class Row:
    """State of each row: its last point, and its smallest point that flips at least half of the group."""

    size: Tensor
    value: Tensor
    flipped: Tensor
    best: Tensor
    best_size: Tensor
    best_value: Tensor


class Focus:
    """Attacks on a batch of groups of one sample.

    Args:
        evaluator: evaluator of at least as many copies of the sample as there are groups.
        flips: record to be filled.
        sample: number of the sample in that record.
        groups: indices of each group's voxels.
        steps: gradients per group.
        rtol: how near to the boundary single voxels are drawn back.
    """

    def __init__(
        self, evaluator: Evaluator, flips: Flips, sample: int, groups: Sequence[Tensor], *, steps: int, rtol: float
    ) -> None:
        self.evaluator, self.flips, self.sample, self.steps, self.rtol = evaluator, flips, sample, steps, rtol
        self.index = torch.arange(len(groups), device=evaluator.image.device)
        self.image = evaluator.image[self.index]
        self.voxels = pad_sequence(list(groups), batch_first=True)
        lengths = [len(group) for group in groups]
        self.shortest, self.longest = min(lengths), max(lengths)
        self.counts = torch.tensor(lengths, device=evaluator.image.device)
        self.counted = torch.arange(self.voxels.shape[1], device=evaluator.image.device) < self.counts[:, None]
        self.aim = _Group(self.voxels, self.counted)
        self.set: Perturbation = evaluator.perturbation
        self.zeros = self.set.zeros(self.image)
        self.ceiling = self.set.radius(self.image)
        zero, infinite = torch.zeros_like(self.ceiling), torch.full_like(self.ceiling, torch.inf)
        self.clean = zero
        self.row = Row(zero, zero, zero.bool(), self.zeros, infinite, zero)

    def run(self) -> None:
        """Run the search and record every voxel that flips on the way."""
        self._reach_out(self._descend())
        if self.shortest == 1:
            self._draw_back()
        if self.longest > 1:
            self._scan()

    @property
    def _flips_group(self) -> Tensor:
        return torch.isfinite(self.row.best_size)

    def _descend(self) -> Tensor:
        params, start = self._start()
        radius = self.set.size(params)
        for step in range(1, self.steps):
            gradient = self._gradient(params, self.aim)
            row, slope = self.row, self._slope(gradient)
            pace = _FINEST ** ((step - 1) / max(self.steps - 2, 1))
            grown = torch.minimum(row.size + _AHEAD * (-row.value).clamp(min=0) / slope, _GROW * radius)
            shrunk = torch.minimum(radius, row.size) * (1 - pace / 2)
            radius = torch.where(row.flipped, shrunk, grown).minimum(self.ceiling)
            moved = self.set.step(params, gradient, radius * pace)
            moved = self.set.with_eps(radius).project(self.image, moved)
            if step == 1:
                back = _OVER * self._length(gradient, _dot(gradient, params) - row.value, slope)
                back = self._jump(gradient, back.clamp(start / 4, start))
                moved = torch.where(expand(row.flipped, moved).bool(), back, moved)
                radius = self.set.size(moved)
            params = moved
        self._score(params)
        return params

    def _start(self) -> tuple[Tensor, Tensor]:
        """Direction and length of the first step, towards the nearest rival by the linear model."""
        nearest = torch.full_like(self.ceiling, torch.inf)
        params = self.zeros
        for rank, aim in enumerate(self._rivals()):
            gradient = self._gradient(self.zeros, aim)
            self.clean = self.row.value if rank == 0 else self.clean
            length = self._length(gradient, -self.row.value, self._slope(gradient))
            nearer = length < nearest
            params = torch.where(expand(nearer, params).bool(), self._jump(gradient, _FURTHER * length), params)
            nearest = torch.minimum(nearest, length)
        return params, _FURTHER * nearest

    def _rivals(self) -> list[Objective]:
        target = self.evaluator.target
        rivals = target.onehot.shape[1] - (not target.regions)
        if self.longest > 1 or rivals == 1:
            return [self.aim]
        return [_Rival(self.voxels[:, 0], rank) for rank in range(min(rivals, _RIVALS))]

    def _reach_out(self, params: Tensor) -> None:
        """Try groups that have not flipped with the whole budget in their last direction."""
        if not bool(self._flips_group.all()):
            factor = self.ceiling / self.set.size(params).clamp(min=_TINY)
            self._score(self._scaled(params, factor.where(~self._flips_group, 1.0)))

    def _scan(self) -> None:
        base = self.row.best
        for factor in _SCAN:
            self._score(self._scaled(base, torch.full_like(self.ceiling, factor)))

    def _draw_back(self) -> None:
        """Regula falsi between the clean image and the smallest point that flips the group."""
        far, flips = self.row.best, self._flips_group
        low, high = torch.zeros_like(self.ceiling), torch.ones_like(self.ceiling)
        at_low, at_high = self.clean, self.row.best_value
        for _ in range(_DRAW_BACK):
            if not bool((flips & (high - low > self.rtol * high)).any()):
                return
            share = (at_low / (at_low - at_high)).nan_to_num(0.5).clamp(0.05, 0.95)
            middle = torch.minimum(low + (high - low) * share + self.rtol / 4 * high, low + (high - low) * 0.95)
            self._score(far * expand(middle, far))
            flipped, value = self.row.flipped, self.row.value
            low, high = middle.where(~flipped, low), middle.where(flipped, high)
            at_low, at_high = value.where(~flipped, at_low), value.where(flipped, at_high)

    def _slope(self, gradient: Tensor) -> Tensor:
        """Gain (B,) per unit of size, up to the whole budget, of a step from no change."""
        unit = self.ceiling.clamp(min=_TINY)
        return (_dot(gradient, self._jump(gradient, unit)) / unit).clamp(min=_TINY)

    def _length(self, gradient: Tensor, need: Tensor, slope: Tensor) -> Tensor:
        """Length (B,) of the step from no change whose gain is `need`."""
        limit = _LONGEST * self.ceiling
        if self.set.bounds is None:
            return (need / slope).clamp(min=0).minimum(limit)
        beyond = _dot(gradient, self._jump(gradient, limit)) < need
        free = _dot(gradient, self.set.step(self.zeros, gradient, torch.ones_like(need))).clamp(min=_TINY)
        # Bounds only lengthen the step; rows beyond reach keep length 0, which keeps their projections cheap.
        low = (need / free).clamp(min=0).where(~beyond, 0.0)
        high = low.clone()
        for _ in range(_HALVINGS):
            short = ~beyond & (_dot(gradient, self._jump(gradient, high)) < need)
            if not bool(short.any()):
                break
            low, high = high.where(short, low), (2 * high).where(short, high)
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            short = _dot(gradient, self._jump(gradient, middle)) < need
            low, high = middle.where(short, low), middle.where(~short, high)
        return high.where(~beyond, limit)

    def _jump(self, gradient: Tensor, length: Tensor) -> Tensor:
        return self.set.project(self.image, self.set.step(self.zeros, gradient, length))

    def _scaled(self, params: Tensor, factor: Tensor) -> Tensor:
        return self.set.project(self.image, params * expand(factor, params))

    def _gradient(self, params: Tensor, aim: Objective) -> Tensor:
        def keep(point: Point) -> bool:
            self._keep(params, point)
            return True

        gradient = self.evaluator.with_gradient(params, self.index, aim, 1.0, keep).gradient
        return self.zeros if gradient is None else gradient.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)

    def _score(self, params: Tensor) -> None:
        self._keep(params, self.evaluator.at(params, self.index, self.aim))

    def _keep(self, params: Tensor, point: Point) -> None:
        wrong = wrong_at(self.evaluator, self.index, params, point.logits)
        size = self.set.size(params)
        self.flips.record([self.sample] * len(wrong), size, wrong)
        row = self.row
        flipped = (wrong.gather(1, self.voxels) & self.counted).sum(1) * 2 >= self.counts
        better = flipped & (size < row.best_size)
        best = params.where(expand(better, params).bool(), row.best)
        best_value = point.values.where(better, row.best_value)
        self.row = Row(size, point.values, flipped, best, size.where(better, row.best_size), best_value)


def _dot(first: Tensor, second: Tensor) -> Tensor:
    return (first * second).flatten(1).sum(1)
