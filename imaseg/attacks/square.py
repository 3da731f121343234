"""Random search with windows: uses scores but no gradients, so that masked gradients do not mislead it.

Each step adds a window of random signs, one per channel, at the largest length the set allows, and keeps it where the
objective rises. The window's share of the volume starts at `share` and is halved after 1, 5, 20, 100, 200, 400, 600 and
800 steps. It works on every set, in 2D and 3D: windows are cut out of the parameters, whatever these are.

Andriushchenko et al., "Square attack: a query-efficient black-box adversarial attack via random search", ECCV 2020.
There the schedule is stretched to the number of steps, which would let a longer search be weaker, and in L2 the
energy of the window is moved from another window; here the set's own step and projection do that.

`steps` + 1 forward passes per restart and one for the clean image.
"""

from __future__ import annotations

import torch
from torch import Tensor

from imaseg.attacks.base import Attack
from imaseg.attacks.search import Search
from imaseg.objectives import Objective
from imaseg.perturbations import Perturbation
from imaseg.perturbations.base import expand

_HALVINGS = (1, 5, 20, 100, 200, 400, 600, 800)


class Square(Attack):
    """Random window search; see `Attack` for the other arguments.

    Args:
        steps: windows tried.
        share: share of the volume that the first windows cover, in (0, 1].

    Raises:
        ValueError: if share is outside (0, 1].
    """

    title = "Square"
    reference = (
        "Andriushchenko M, Croce F, Flammarion N, Hein M. Square Attack: a query-efficient black-box adversarial "
        "attack via random search. ECCV 2020. arXiv:1912.00049."
    )
    cited = "Andriushchenko et al. 2020"
    uses_gradients = False

    def __init__(
        self,
        perturbation: Perturbation,
        *,
        steps: int = 100,
        objective: Objective | None = None,
        restarts: int = 1,
        seed: int = 0,
        samples: int = 1,
        share: float = 0.8,
    ) -> None:
        super().__init__(perturbation, steps=steps, objective=objective, restarts=restarts, seed=seed, samples=samples)
        if not 0 < share <= 1:
            msg = f"share must be in (0, 1], got {share}. Use 0.8."
            raise ValueError(msg)
        self.share = share

    def _run(self, search: Search) -> None:
        for restart in range(self.restarts):
            params = self._stripes(search) if search.start is None or restart else search.begin(0)
            value = search.score(params).clone()
            for step in range(self.steps):
                if search.done:
                    return
                tried = self._windowed(search, params, step)
                now = search.score(tried, progress=step / self.steps)
                higher = now > value
                params = tried.where(expand(higher, params).bool(), params)
                value = now.where(higher, value)

    def _stripes(self, search: Search) -> Tensor:
        """Full-length random signs, constant along the first spatial axis."""
        zeros = search.perturbation.zeros(search.image)
        shape = [*zeros.shape[1:2], *[1] * (zeros.ndim > 2), *zeros.shape[3:]]
        signs = _signs(shape, search.generator).to(zeros).expand(zeros.shape)
        return search.ascend(zeros, signs, 2 * search.perturbation.radius(search.image))

    def _windowed(self, search: Search, params: Tensor, step: int) -> Tensor:
        share = self.share / 2 ** sum(step >= halving for halving in _HALVINGS)
        pattern = torch.zeros_like(params)
        window = [slice(None), slice(None)]
        for size in params.shape[2:]:
            width = max(1, round(size * share ** (1 / (params.ndim - 2))))
            first = int(torch.randint(size - width + 1, (), generator=search.generator))
            window.append(slice(first, first + width))
        signs = _signs([params.shape[1], *[1] * (params.ndim - 2)], search.generator)
        pattern[tuple(window)] = signs.to(params)
        length = 2 * search.perturbation.radius(search.image)
        return search.ascend(params, pattern, length * share**0.5 if search.perturbation.shared_budget else length)


def _signs(shape: list[int], generator: torch.Generator) -> Tensor:
    return torch.randint(2, shape, generator=generator) * 2 - 1
