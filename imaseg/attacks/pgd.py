"""Projected gradient ascent from a random start inside the set.

    delta <- project(delta + a_t * steepest(g)),   a_t = step_size * eps / t ** decay,   t = 1, 2, ...

The step shrinks as in the subgradient method and does not depend on the number of steps: a longer search goes
further along the same path, so that more steps can never weaken the result. restarts * steps backward passes and
restarts * (steps + 1) + 1 forward passes (last point of each restart, clean image).

Madry et al., "Towards deep learning models resistant to adversarial attacks", ICLR 2018 (there with a constant step).
"""

from __future__ import annotations

from imaseg.attacks.base import Attack
from imaseg.attacks.search import Search
from imaseg.objectives import Objective
from imaseg.perturbations import Perturbation


class PGD(Attack):
    """Projected gradient ascent; see `Attack` for the other arguments.

    Args:
        step_size: length of the first step, in units of eps; 2 reaches across the whole set.
        decay: power of the step's number by which the length shrinks; 0 keeps it constant, as published.

    Raises:
        ValueError: if step_size is not positive or decay negative.
    """

    title = "PGD"
    reference = (
        "Madry A, Makelov A, Schmidt L, Tsipras D, Vladu A. Towards deep learning models resistant "
        "to adversarial attacks. ICLR 2018. arXiv:1706.06083."
    )
    cited = "Madry et al. 2018"

    random_start = True

    def __init__(
        self,
        perturbation: Perturbation,
        *,
        steps: int = 20,
        objective: Objective | None = None,
        restarts: int = 1,
        seed: int = 0,
        samples: int = 1,
        step_size: float = 2.0,
        decay: float = 0.5,
    ) -> None:
        super().__init__(perturbation, steps=steps, objective=objective, restarts=restarts, seed=seed, samples=samples)
        if not step_size > 0:
            msg = f"step_size must be > 0 (units of eps), got {step_size}."
            raise ValueError(msg)
        if not decay >= 0:
            msg = f"decay must be >= 0, got {decay}. Use 0 for a constant step."
            raise ValueError(msg)
        self.step_size = step_size
        self.decay = decay

    def _run(self, search: Search) -> None:
        longest = search.perturbation.radius(search.image) * self.step_size
        for restart in range(self.restarts):
            params = search.begin(restart, random=self.random_start)
            for step in range(self.steps):
                gradient = search.gradient(params, progress=step / self.steps)
                if search.done:
                    return
                params = search.ascend(params, gradient, longest / (step + 1) ** self.decay)
            search.score(params)
