"""Random noise of the full size: the baseline every gradient attack has to beat. No backward passes.

Each step draws one noise image and scales it to eps in the set's unit; bounds may shorten it. `steps` + 1 forward
passes.
"""

from __future__ import annotations

import torch

from imaseg.attacks.base import Attack
from imaseg.attacks.search import Search
from imaseg.objectives import Objective
from imaseg.perturbations import Perturbation
from imaseg.perturbations.base import draw, expand


class _Noise(Attack):
    """Noise of size eps, worst of `steps` draws; see `Attack` for arguments."""

    uses_gradients = False
    is_noise = True
    gaussian: bool

    def __init__(
        self,
        perturbation: Perturbation,
        *,
        steps: int = 1,
        objective: Objective | None = None,
        restarts: int = 1,
        seed: int = 0,
        samples: int = 1,
    ) -> None:
        super().__init__(perturbation, steps=steps, objective=objective, restarts=restarts, seed=seed, samples=samples)

    def _run(self, search: Search) -> None:
        perturbation = search.perturbation
        radius = perturbation.radius(search.image)
        for _ in range(self.steps * self.restarts):
            noise = draw(perturbation.zeros(search.image), search.generator, gaussian=self.gaussian)
            # Into the set first, since some sets reach to one side of 0 only.
            params = perturbation.project(search.image, perturbation.masked(noise))
            size = perturbation.size(params).clamp(min=torch.finfo(params.dtype).tiny)
            search.score(perturbation.project(search.image, params * expand(radius / size, params)))


class GaussianNoise(_Noise):
    """Independent normal noise, scaled to size eps."""

    title = "Gaussian noise"
    gaussian = True


class UniformNoise(_Noise):
    """Independent uniform noise, scaled to size eps."""

    title = "uniform noise"
    gaussian = False
