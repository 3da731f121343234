"""Fast gradient method: delta = eps * (steepest direction at the clean image).

For Linf that is eps * sign(g), for L2 eps * g / ||g||. One backward pass and three forward passes. Goodfellow,
Shlens & Szegedy, "Explaining and harnessing adversarial examples", ICLR 2015.
"""

from __future__ import annotations

from typing import Self

from imaseg.attacks.base import Attack
from imaseg.attacks.search import Search
from imaseg.objectives import Objective
from imaseg.perturbations import Perturbation


class FGSM(Attack):
    """One full-length step from the clean image; see `Attack` for arguments.

    Raises:
        ValueError: if steps or restarts is not 1: nothing would differ between them.
    """

    title = "FGSM"
    reference = (
        "Goodfellow IJ, Shlens J, Szegedy C. Explaining and harnessing adversarial examples. ICLR "
        "2015. arXiv:1412.6572."
    )
    cited = "Goodfellow et al. 2015"

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
        if (steps, restarts) != (1, 1):
            msg = f"steps and restarts of FGSM must be 1, got {steps} and {restarts}. Use IFGSM or PGD for more."
            raise ValueError(msg)

    def with_steps(self, steps: int) -> Self:
        """Return the attack itself: it has one step only."""
        return self

    def _run(self, search: Search) -> None:
        params = search.begin(0, random=False)
        params = search.ascend(params, search.gradient(params), search.perturbation.radius(search.image))
        search.score(params)
