"""The project's own worst case, `strong` by name: projected steepest ascent on soft Dice through shrinking sets.

    15 % of the steps in the set at 2 eps, 85 % at eps; in step k of n of a stage
    v <- v / 2 + g / ||g||
    delta <- project(delta + a eps' (1 - k / n) steepest(v)),   a = 6 and 4, n and eps' those of the stage

The choices, by measurement (docs/attack_strength.md; `benchmarks/strong_makeup.py` makes the table):
- what is maximised is soft Dice itself, since a budget is wasted on whatever hard Dice does not count;
- it grows sharper on the way, towards hard Dice, on the scale of the model's own logits (`TemperedDice`);
- a larger set comes first (Croce, Singh & Hein, arXiv 2306.12941, there with APGD and for 60 % of the steps), since
  inside the set a search settles for the structure that happens to be nearest; one short stage does as much as many;
- steps start far longer than the set is wide, so that early points are little more than the gradient blown up to the
  budget, and fall linearly to 0 in every stage; step halving lost to that.
Momentum within a stage (after Dong et al., CVPR 2018) makes no difference in L2 balls; it is there for sets of few
parameters, where so long a step jumps from valley to valley.

restarts * steps backward passes and at most restarts * (steps + 1) + 1 forward passes. The schedule depends on `steps`:
a longer search is another search.
"""

from __future__ import annotations

import torch
from torch import Tensor

from imaseg.attacks.base import Attack
from imaseg.attacks.search import Search
from imaseg.objectives import Objective, TemperedDice
from imaseg.perturbations import Perturbation
from imaseg.perturbations.base import expand, norm

_STAGES = ((0.15, 2.0, 6.0), (0.85, 1.0, 4.0))
"""For each stage: share of the steps, budget as a multiple of eps, and first step."""


class ShrinkingSetPGD(Attack):
    """PGD with momentum on soft Dice, a larger set first, steps falling linearly; see `Attack` for the arguments.

    Args:
        objective: what is maximised, `TemperedDice()` if not given.
        momentum: weight of a gradient in the step after its own, falling geometrically from there, in [0, 1).

    Raises:
        ValueError: if momentum is outside [0, 1).
    """

    name = "strong"
    title = "strong search"

    def __init__(
        self,
        perturbation: Perturbation,
        *,
        steps: int = 20,
        objective: Objective | None = None,
        restarts: int = 1,
        seed: int = 0,
        samples: int = 1,
        momentum: float = 0.5,
    ) -> None:
        if not 0 <= momentum < 1:
            msg = f"momentum must be in [0, 1), got {momentum}. Use 0.5."
            raise ValueError(msg)
        self.momentum = momentum
        chosen = objective if objective is not None else TemperedDice()
        super().__init__(perturbation, steps=steps, objective=chosen, restarts=restarts, seed=seed, samples=samples)

    def _run(self, search: Search) -> None:
        for restart in range(self.restarts):
            params = search.begin(restart)
            done = 0
            for steps, stretch, longest in self._stages():
                params = self._run_stage(search, params, steps, done, stretch=stretch, longest=longest)
                done += steps
            search.score(params)

    def _stages(self) -> list[tuple[int, float, float]]:
        """Steps, stretch and first step of each stage; what is rounded off goes to the last one."""
        lengths = [int(share * self.steps) for share, _, _ in _STAGES[:-1]]
        lengths.append(self.steps - sum(lengths))
        return [(steps, *stage[1:]) for steps, stage in zip(lengths, _STAGES, strict=True) if steps]

    def _run_stage(
        self, search: Search, params: Tensor, steps: int, done: int, *, stretch: float, longest: float
    ) -> Tensor:
        within = search.perturbation.stretched(stretch)
        reach = longest * within.radius(search.image)
        params = within.project(search.image, params)
        velocity = torch.zeros_like(params)
        for step in range(steps):
            gradient = search.gradient(params, progress=(done + step) / self.steps, inside=stretch == 1)
            if search.done:
                break
            length = norm(gradient)
            velocity = self.momentum * velocity + gradient / expand(length + (length == 0), gradient)
            moved = within.step(params, velocity, reach * (1 - step / steps))
            params = within.project(search.image, moved)
        return params
