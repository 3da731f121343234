"""Attacks aimed at all voxels at once over rising budgets; the first stage of a map of voxel margins.

The ladder begins below the size at which a single gradient step flips its first voxel. Every rung aims at the voxels
that nothing of its size or less has flipped yet, so that a shared budget is not spent on the others, and starts from
the worst point of the rung before. Each rung costs its attack, and one forward pass of the clean image.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from imaseg.attacks import Attack
from imaseg.attacks.evaluate import Point
from imaseg.attacks.search import Search
from imaseg.frozen import Model
from imaseg.margins.voxel_aim import _Only
from imaseg.margins.voxel_flips import Flips, wrong_at
from imaseg.perturbations.base import expand

_LOWEST = 10  # halvings of the budget


class Sweep:
    """Attacks at rising budgets and records every voxel that any evaluated point flips.

    Args:
        model: image -> logits, frozen by the caller.
        image: (B, C, *spatial).
        label: as in `imaseg.scores.encode`.
        attack: search of each rung; its perturbation holds the whole budget.
        flips: record to be filled.
    """

    def __init__(self, model: Model, image: Tensor, label: Tensor, attack: Attack, flips: Flips) -> None:
        self.model, self.image, self.label, self.attack, self.flips = model, image, label, attack, flips
        self.forward_calls = self.backward_calls = 0

    def run(self, rungs: int) -> None:
        """Run all budgets."""
        start = None
        for budget in self._budgets(rungs):
            aim = self.flips.right & (self.flips.size > budget[:, None])
            if bool(aim.any()):
                search = self._search(budget, aim, start)
                self.attack.on(search.perturbation)._run(search)
                self._count(search)
                start = search.best

    def _budgets(self, rungs: int) -> Iterator[Tensor]:
        """Rising budgets (B,): a geometric series up to the largest one."""
        ceiling = self.attack.perturbation.radius(self.image)
        lowest = self._lowest(ceiling)
        for rung in range(1, rungs + 1):
            yield ceiling * lowest ** (1 - rung / rungs)

    def _lowest(self, ceiling: Tensor) -> Tensor:
        """Share (B,) of the largest budget below which one gradient step flips nothing."""
        search = self._search(ceiling, self.flips.right, None)
        zeros = search.perturbation.zeros(self.image)
        far = search.ascend(zeros, search.gradient(zeros), ceiling)
        lowest = torch.ones_like(ceiling)
        for halving in range(_LOWEST):
            search.score(far / 2**halving)
            lowest = torch.where(search.flipping, 0.5 ** (halving + 1), lowest)
            if not bool(search.flipping.any()):
                break
        self._count(search)
        return lowest

    def _search(self, budget: Tensor, aim: Tensor, start: Tensor | None) -> _RecordingSearch:
        perturbation = self.attack.perturbation.with_eps(budget)
        if start is not None:
            size = perturbation.size(start)
            start = start * expand(budget / size.where(size > 0, 1.0), start)
        return _RecordingSearch(
            self.model, self.image, self.label, self.attack.on(perturbation), self.flips, aim, start
        )

    def _count(self, search: Search) -> None:
        self.forward_calls += search.forward_calls
        self.backward_calls += search.backward_calls


class _RecordingSearch(Search):
    """A search on some voxels that enters every evaluated point into a record of flips."""

    def __init__(
        self,
        model: Model,
        image: Tensor,
        label: Tensor,
        attack: Attack,
        flips: Flips,
        aim: Tensor,
        start: Tensor | None,
    ) -> None:
        objective = _Only(attack.objective, aim)
        super().__init__(
            model,
            image,
            label,
            attack.perturbation,
            objective,
            seed=attack.seed,
            samples=attack.samples,
            start=start,
        )
        self._flips = flips
        self.flipping = torch.zeros(len(image), dtype=torch.bool, device=image.device)

    def _record(self, index: Tensor, params: Tensor, point: Point, *, inside: bool = True) -> None:
        places = self._active_places
        super()._record(index, params, point, inside=inside)
        # Points beyond the budget of this rung count too, up to the largest budget.
        current = self._some(params, index)
        wrong = wrong_at(self._evaluator, index, current, point.logits)
        self._flips.record(places, self.perturbation.size(current), wrong)
        self._put("flipping", index, (wrong & self._flips.right[index]).any(1))
