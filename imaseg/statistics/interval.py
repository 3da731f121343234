"""Bootstrap intervals over cases (Efron and Tibshirani, An Introduction to the Bootstrap, 1993).

The percentile method: the cases are drawn with replacement as often as there are cases, 2000 times, and the interval
holds the middle 95 % of the means of those draws. Seeded, so that the same cases give the same interval.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

import numpy as np
import scipy.stats

DRAWS = 2000
FEWEST = 3
"""Smallest number of values for which an interval is computed."""
_AT_ONCE = 2**22
"""Largest number of values that are drawn at a time, to limit memory."""

_Name = TypeVar("_Name", bound=Hashable)


def bootstrap(
    values: Sequence[float], *, seed: int = 0, draws: int = DRAWS, median: bool = False
) -> list[float] | None:
    """95 % percentile-bootstrap interval of the mean (or median) over cases; None for fewer than `FEWEST` cases.

    >>> bootstrap([0.5, 0.5, 0.5]), bootstrap([0.5, 0.6])
    ([0.5, 0.5], None)
    """
    return bootstrap_each({0: values}, seed=seed, draws=draws, median=median)[0]


def bootstrap_each(
    columns: Mapping[_Name, Sequence[float]], *, seed: int = 0, draws: int = DRAWS, median: bool = False
) -> dict[_Name, list[float] | None]:
    """Apply `bootstrap` to each of many columns; columns of one length share their draws, which is far quicker."""
    intervals: dict[_Name, list[float] | None] = dict.fromkeys(columns)
    lengths: dict[int, list[_Name]] = {}
    for name, values in columns.items():
        lengths.setdefault(len(values), []).append(name)
    for length, names in lengths.items():
        if length < FEWEST:
            continue
        rows = np.array([columns[name] for name in names], dtype=np.float64)
        interval = scipy.stats.bootstrap(
            (rows,),
            np.median if median else np.mean,
            axis=1,
            n_resamples=draws,
            batch=max(1, _AT_ONCE // rows.size),
            method="percentile",
            rng=np.random.default_rng(seed),
        ).confidence_interval
        intervals |= {name: [float(interval.low[row]), float(interval.high[row])] for row, name in enumerate(names)}
    return intervals
