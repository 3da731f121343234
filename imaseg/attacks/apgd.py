"""Auto-PGD: momentum, a step that halves when the objective stalls, and restarts from the best point.

    z <- project(x_k + a * steepest(g_k));   x_{k+1} <- project(x_k + 0.75 (z - x_k) + 0.25 (x_k - x_{k-1}))

a starts at 2 eps. At the checkpoints (after 22 % of the steps, then in intervals 3 % shorter each, at least 6 %) a
sample's step is halved and its search goes back to its best point if fewer than 75 % of the steps since the last
checkpoint raised the objective, or if neither step nor best value changed. Croce & Hein, "Reliable evaluation of
adversarial robustness with an ensemble of diverse parameter-free attacks", ICML 2020.

`larger_first`: 30 / 30 / 40 % of the steps at 2 eps, 1.5 eps and eps, each stage from the projected best point of the
one before; points outside the set guide the search and never count. Croce, Singh & Hein, arXiv 2306.12941.

restarts * steps backward passes and at most restarts * (steps + 1) + 1 forward passes. The schedule depends on `steps`,
as published, so that a longer search is another search.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from imaseg.attacks.base import Attack
from imaseg.attacks.search import Search
from imaseg.objectives import Objective
from imaseg.perturbations import Perturbation
from imaseg.perturbations.base import expand

_MOMENTUM = 0.75
_STAGES = ((0.3, 2.0), (0.3, 1.5), (0.4, 1.0))


class APGD(Attack):
    """Auto-PGD; see `Attack` for the other arguments.

    Args:
        larger_first: search larger sets first.
    """

    title = "APGD"
    reference = (
        "Croce F, Hein M. Reliable evaluation of adversarial robustness with an ensemble of diverse "
        "parameter-free attacks. ICML 2020. arXiv:2003.01690."
    )
    cited = "Croce and Hein 2020"

    def __init__(
        self,
        perturbation: Perturbation,
        *,
        steps: int = 20,
        objective: Objective | None = None,
        restarts: int = 1,
        seed: int = 0,
        samples: int = 1,
        larger_first: bool = False,
    ) -> None:
        super().__init__(perturbation, steps=steps, objective=objective, restarts=restarts, seed=seed, samples=samples)
        self.larger_first = larger_first

    def _run(self, search: Search) -> None:
        for restart in range(self.restarts):
            params = search.begin(restart)
            for steps, stretch in self._stages():
                stage = _Stage(search, search.perturbation.stretched(stretch), steps, inside=stretch == 1)
                params = stage.run(params)
            search.score(search.perturbation.project(search.image, params))

    def _stages(self) -> list[tuple[int, float]]:
        if not self.larger_first:
            return [(self.steps, 1.0)]
        lengths = [int(share * self.steps) for share, _ in _STAGES[:2]]
        lengths.append(self.steps - sum(lengths))
        return [(steps, stretch) for steps, (_, stretch) in zip(lengths, _STAGES, strict=True) if steps]


def checkpoints(steps: int) -> list[int]:
    """Steps at which a search of that length is judged.

    >>> checkpoints(100)
    [22, 41, 57, 70, 80, 87, 93, 99]
    """
    due, percent, interval = set(), 0, 22
    while percent + interval <= 100:
        percent += interval
        due.add(-(-percent * steps // 100))
        interval = max(interval - 3, 6)
    return sorted(due)


@dataclass
class _Best:
    """The best point of each sample of a stage, and the gradient there."""

    params: Tensor
    gradient: Tensor
    value: Tensor


class _Stage:
    """One stage: `steps` gradients within one set."""

    def __init__(self, search: Search, within: Perturbation, steps: int, *, inside: bool) -> None:
        self.search, self.within, self.steps, self.inside = search, within, steps, inside
        self.length = 2 * within.radius(search.image)
        self.improved = torch.zeros_like(self.length)
        self.halved = torch.ones_like(self.length, dtype=torch.bool)

    def run(self, params: Tensor) -> Tensor:
        """Search from params; returns the last point reached, or in a larger set the best one."""
        params = self._project(params)
        best, before, value = None, params, torch.full_like(self.length, torch.inf)
        at_last = value
        due, since = checkpoints(self.steps), 0
        for step in range(self.steps):
            gradient = self.search.gradient(params, progress=step / self.steps, inside=self.inside)
            if self.search.done:
                return params
            now = self.search.values.nan_to_num(nan=-torch.inf)
            self.improved += now > value
            best = _better(best, params, gradient, now)
            value = now
            if step in due:
                params, gradient = self._judge(best, at_last, step - since, params, gradient)
                at_last, since = best.value, step
            params, before = self._move(params, before, gradient, first=step == 0), params
        return params if self.inside or best is None else best.params

    def _move(self, params: Tensor, before: Tensor, gradient: Tensor, *, first: bool) -> Tensor:
        reached = self._project(self.within.step(params, gradient, self.length))
        if first:
            return reached
        return self._project(params + _MOMENTUM * (reached - params) + (1 - _MOMENTUM) * (params - before))

    def _judge(
        self, best: _Best, at_last: Tensor, steps: int, params: Tensor, gradient: Tensor
    ) -> tuple[Tensor, Tensor]:
        """At a checkpoint: halve the step of samples that stall and send them back to their best point."""
        stalled = (self.improved < 0.75 * steps) | (~self.halved & (best.value <= at_last))
        self.length = torch.where(stalled, self.length / 2, self.length)
        self.improved, self.halved = torch.zeros_like(self.improved), stalled
        back = expand(stalled, params).bool()
        return best.params.where(back, params), best.gradient.where(back, gradient)

    def _project(self, params: Tensor) -> Tensor:
        return self.within.project(self.search.image, params)


def _better(best: _Best | None, params: Tensor, gradient: Tensor, value: Tensor) -> _Best:
    if best is None:
        return _Best(params, gradient, value)
    higher = value > best.value
    chosen = expand(higher, params).bool()
    return _Best(
        params.where(chosen, best.params), gradient.where(chosen, best.gradient), value.where(higher, best.value)
    )
