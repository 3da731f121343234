"""IMA's ascent: PGD in which each sample may have its own number of steps and its own starting point."""

from __future__ import annotations

from torch import Tensor

from imaseg.attacks import PGD
from imaseg.attacks.search import Search


def ascend(search: Search, attack: PGD, steps: Tensor) -> None:
    """Step as `attack` does; a sample that has made its steps is evaluated once more and leaves the batch.

    Args:
        search: search on one batch, with a criterion.
        attack: gives the length of the steps and their largest number.
        steps: (B,) integers >= 1, how many each sample makes.
    """
    longest = search.perturbation.radius(search.image) * attack.step_size
    params = search.begin(0)
    numbers = steps.tolist()
    for step in range(max(numbers)):
        search.confine([number == step for number in numbers])
        search.score(params)
        search.confine([number > step for number in numbers])
        gradient = search.gradient(params, progress=step / attack.steps)
        if search.done:
            return
        params = search.ascend(params, gradient, longest / (step + 1) ** attack.decay)
    search.confine([number == max(numbers) for number in numbers])
    search.score(params)
