"""At which level of a change one group of cases does as badly as another group does unchanged."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import scipy.stats

from imaseg.statistics.interval import FEWEST, LEVEL, Ends, Values, membership

_STEPS = 200
"""Points between neighbouring levels."""


class EqualCost(NamedTuple):
    """A level, 0 if the other group does no worse, infinite if it does worse than at the highest level.

    Attributes:
        level: the lowest at which the means are equal, by straight lines between the levels that were measured.
        ci95: ends of its 95 % interval, which may be 0 or infinite; None for too few patients in either group.
    """

    level: float
    ci95: tuple[float, float] | None


def equal_cost(
    levels: Sequence[float],
    curves: Sequence[Sequence[float]] | Values,
    other: Sequence[float],
    patients: Sequence[str] | None = None,
    other_patients: Sequence[str] | None = None,
) -> EqualCost:
    """Find the level at which the mean of one group is that of another.

    The interval holds every level from the lowest to the highest at which the means cannot be told apart, as Fieller's
    does for ratios: where Welch's t interval of their difference, each group's variance by leaving out one of its
    patients at a time, holds 0. It rests on no draws.

    Args:
        levels: rising, from 0 for no change.
        curves: (cases, levels), scores of one group; higher is better.
        other: scores of the other group, unchanged.
        patients: of each case of the first group; None if each is a patient of its own.
        other_patients: of the other group.

    >>> equal_cost([0, 1, 2], [[0.9, 0.8, 0.5]] * 2, [0.65, 0.65])
    EqualCost(level=1.5, ci95=None)
    """
    steps = [np.linspace(*ends, _STEPS + 1) for ends in pairwise(levels)]
    grid = np.unique(np.concatenate(steps))
    between = np.stack([np.interp(grid, levels, unit) for unit in np.eye(len(levels))])
    gap, half = _difference(np.asarray(curves, float) @ between, other, patients, other_patients)
    ends = None if half is None else (_first(grid, gap - half), _first(grid, gap + half))
    return EqualCost(_first(grid, gap), ends)


def mean_difference(
    one: Sequence[float],
    other: Sequence[float],
    patients: Sequence[str] | None = None,
    other_patients: Sequence[str] | None = None,
) -> tuple[float, Ends]:
    """Mean of `other` less that of `one`, groups of different cases, and the interval that `equal_cost` rests on.

    >>> mean_difference([0.5] * 7, [0.25] * 8)
    (-0.25, [-0.25, -0.25])
    """
    gap, half = _difference(np.asarray(one, float)[:, None], other, patients, other_patients)
    return float(-gap[0]), None if half is None else [float(-gap[0] - half[0]), float(-gap[0] + half[0])]


def _difference(
    values: Values, other: Sequence[float], patients: Sequence[str] | None, other_patients: Sequence[str] | None
) -> tuple[Values, Values | None]:
    """Means of columns (cases, columns) less that of `other`, and half their intervals; None for too few patients."""
    mean, variance, n = _mean(values, patients)
    (target,), (noise,), m = _mean(np.asarray(other, float)[:, None], other_patients)
    if min(n, m) < FEWEST:
        return mean - target, None
    both = variance + noise
    with np.errstate(invalid="ignore", divide="ignore"):
        freedom = np.where(both > 0, both**2 / (variance**2 / (n - 1) + noise**2 / (m - 1)), n + m - 2)
    return mean - target, scipy.stats.t.ppf((1 + LEVEL) / 2, freedom) * np.sqrt(both)


def _first(grid: Values, gap: Values) -> float:
    """Where a falling line first comes to 0: 0 if it begins there or below, infinite if it never does."""
    below = np.flatnonzero(gap <= 1e-12)
    if not len(below):
        return float("inf")
    after = int(below[0])
    if after == 0:
        return 0.0
    (x, y), (a, b) = grid[after - 1 : after + 1], gap[after - 1 : after + 1]
    return float(round(x + (y - x) * a / (a - b), 9))


def _mean(values: Values, patients: Sequence[str] | None) -> tuple[Values, Values, int]:
    """Means of columns (cases, columns), their variances by leaving out one patient at a time, number of patients."""
    member = membership([str(i) for i in range(len(values))] if patients is None else patients)
    n, mean = member.shape[1], values.mean(0)
    if n < 2:
        return mean, np.zeros_like(mean), n
    without = (values.sum(0) - member.T @ values) / (len(values) - member.sum(0))[:, None]
    return mean, ((without - mean) ** 2).sum(0) * (n - 1) / n, n
