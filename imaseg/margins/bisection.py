"""Bisection on the segment between a point that meets a criterion and one that does not; forward passes only."""

from __future__ import annotations

from torch import Tensor

from imaseg.attacks.search import Search
from imaseg.perturbations.base import expand


def bisect(search: Search, good: Tensor, bad: Tensor, index: Tensor, iterations: int) -> Tensor:
    """Move `bad` towards `good`, on to the boundary of the search's criterion.

    Args:
        search: the search that both come from; its `criterion` judges.
        good: (len(index), ...) parameters at which `criterion` does not hold.
        bad: parameters at which it does.
        index: which samples of the search's batch these are.
        iterations: each halves the segment and costs one forward pass.

    Returns:
        The nearest known bad parameters, within 2^-iterations of the segment's length from the boundary.
    """
    if not len(index):
        return bad
    for _ in range(iterations):
        middle = (good + bad) / 2
        broken = expand(search.broken(middle, index), bad).bool()
        good, bad = middle.where(~broken, good), middle.where(broken, bad)
    return bad
