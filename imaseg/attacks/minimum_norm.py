"""Smallest perturbation that makes (nearly) all foreground voxels wrong.

Each sample carries a radius r, at first a quarter of that of the nearest success along the gradient at the
start of the search, or of eps where there is none. Where the current point succeeds, r shrinks below its size; where it
fails, r grows; then a step along the gradient and a projection on to the ball of radius r. Step length and change of r
shrink over the search (adaptive radius: Rony et al., DDN, CVPR 2019; Pintor et al., FMN, NeurIPS 2021, here on any
set). The objective is minus the squared shortfall of the logit margin over the voxels that are needed: the easiest
ones, as many as have to be wrong, chosen anew at every point (the constraint that ALMA-prox relaxes with penalties:
Rony et al., "Proximal splitting adversarial attack for semantic segmentation", CVPR 2023). At the end the best point is
drawn back along its segment to the clean image by bisection.

restarts * steps backward passes and restarts * (steps + 7) + 8 forward passes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from imaseg.attacks.base import Attack
from imaseg.attacks.search import CriterionFn, Search
from imaseg.objectives import Dice, Objective
from imaseg.objectives.decisions import decision_margin
from imaseg.perturbations import Perturbation
from imaseg.perturbations.base import expand
from imaseg.scores import Target, encode

_FINEST = 0.003
_DRAW_BACK = 7
_PROBES = 6
_NEAREST = 2.0**-8
_SHORTER = 0.25
"""First radius as a share of the distance to success along the first gradient, since other directions are shorter."""


class MinimumNorm(Attack):
    """Adaptive-radius search for the smallest point that succeeds; see `Attack` for the other arguments.

    The result's `success` says where a point was found within eps, `size` how small it is. Where none was found, the
    result is the point of the lowest Dice. A case without foreground has nothing to lose and never succeeds.

    Args:
        wrong: share of the foreground voxels that must be wrong, in (0, 1]; `criterion`, if given to the call, rules
            instead.
        objective: what is maximised; if not given, the one described above, or `Dice()` next to a given `criterion`.

    Raises:
        ValueError: if wrong is outside (0, 1].
    """

    title = "minimum-norm"

    smallest = True

    def __init__(
        self,
        perturbation: Perturbation,
        *,
        steps: int = 200,
        objective: Objective | None = None,
        restarts: int = 1,
        seed: int = 0,
        samples: int = 1,
        wrong: float = 0.99,
    ) -> None:
        if not 0 < wrong <= 1:
            msg = f"wrong must be in (0, 1], got {wrong}. Use 0.99."
            raise ValueError(msg)
        chosen = objective if objective is not None else _NeededMargin(wrong)
        super().__init__(perturbation, steps=steps, objective=chosen, restarts=restarts, seed=seed, samples=samples)
        self.wrong = wrong

    def objective_for(self, criterion: CriterionFn | None) -> Objective:
        """Its own objective, which needs the criterion that it was made for."""
        return Dice() if criterion is not None and isinstance(self.objective, _NeededMargin) else self.objective

    def default_criterion(self) -> CriterionFn:
        """The criterion that at least `wrong` of the foreground voxels are wrong."""

        def mostly_wrong(logits: Tensor, label: Tensor, _: Tensor) -> Tensor:
            target = encode(logits, label, ignore_index=self.objective.ignore_index)
            margin, counted = _voxel_margins(logits.flatten(2), target)
            return counted.any(1) & (((margin > 0) & counted).sum(1) >= _needed(counted, self.wrong))

        return mostly_wrong

    def _run(self, search: Search) -> None:
        for restart in range(self.restarts):
            self._search_from(search, search.begin(restart, random=False))
        self._draw_back(search)

    def _search_from(self, search: Search, params: Tensor) -> None:
        perturbation, ceiling = search.perturbation, search.perturbation.radius(search.image)
        radius = ceiling
        for step in range(self.steps):
            gradient = search.gradient(params, progress=step / self.steps)
            pace = _FINEST ** (step / self.steps)
            if step == 0:
                radius = _SHORTER * self._first_radius(search, perturbation.step(params, gradient, ceiling))
            else:
                size = perturbation.size(params)
                smaller, larger = torch.minimum(radius, size) * (1 - pace / 2), radius * (1 + pace / 2)
                radius = torch.where(search.last_success, smaller, torch.minimum(larger, ceiling))
            moved = perturbation.step(params, gradient, radius * pace)
            params = perturbation.with_eps(radius).project(search.image, moved)
        search.score(params)

    def _first_radius(self, search: Search, params: Tensor) -> Tensor:
        """Size of the nearest success on the way to a point as far as eps, on a scale of equal ratios."""
        far = search.perturbation.project(search.image, params)
        near, reach = torch.full_like(search.values, _NEAREST), torch.ones_like(search.values)
        for _ in range(_PROBES):
            middle = (near * reach).sqrt()
            search.score(far * expand(middle, far))
            near, reach = near.where(search.last_success, middle), reach.where(~search.last_success, middle)
        radius = search.perturbation.radius(search.image) * reach
        return torch.where(search.success, torch.minimum(radius, search.smallest_size), radius)

    def _draw_back(self, search: Search) -> None:
        """Bisect between the clean image and the smallest point that succeeds."""
        low, high = torch.zeros_like(search.values), torch.ones_like(search.values)
        best = search.best.clone()
        for _ in range(_DRAW_BACK):
            middle = (low + high) / 2
            search.score(best * expand(middle, best))
            low, high = low.where(search.last_success, middle), high.where(~search.last_success, middle)


class _NeededMargin(Objective):
    """Minus the squared shortfall, mean over the foreground voxels easiest to turn wrong, as many as are needed."""

    cap = 0.01

    def __init__(self, wrong: float, *, ignore_index: int | None = None) -> None:
        super().__init__(ignore_index=ignore_index)
        self.wrong = wrong

    def __repr__(self) -> str:
        return "None"  # what the attack is given for it

    def _loss(self, logits: Tensor, target: Target, progress: float) -> Tensor:
        margin, counted = _voxel_margins(logits, target)
        needed = _needed(counted, self.wrong)
        ordered = margin.detach().where(counted, -torch.inf).sort(1, descending=True).values
        threshold = ordered.gather(1, (needed - 1).clamp(min=0)[:, None])
        chosen = counted & (margin >= threshold)
        # Relative to the logits' own scale, so that a model with saturated logits is searched like any other.
        scale = (margin.detach().abs() * counted).sum(1) / counted.sum(1).clamp(min=1)
        lacking = (self.cap * scale[:, None] - margin).clamp(min=0)
        return -(lacking.square() * chosen).sum(1) / needed.clamp(min=1)


def _needed(counted: Tensor, wrong: float) -> Tensor:
    """Number of voxels (B,) that have to be wrong."""
    return (counted.sum(1) * wrong - 1e-6).ceil().long().clamp(min=1)


def _voxel_margins(logits: Tensor, target: Target) -> tuple[Tensor, Tensor]:
    """How far each voxel (B, N) is on the wrong side, and which ones are valid foreground."""
    return decision_margin(logits, target).amax(1), target.onehot[:, target.foreground].any(1)
