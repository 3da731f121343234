"""95 % intervals of means and medians over cases, or over patients where cases share one; no draws, so no seed.

Of a mean Student's t: it covers what it claims from few values on, and has finite ends (`benchmarks/coverage.py`; the
table is in docs/metrics.md). Where cases share a patient the mean stays that of all cases, and its variance is that of
leaving out one patient at a time (the jackknife of Tukey 1958), with one degree of freedom less than there are
patients; with a case per patient this is Student's t. Of a median the exact interval between two order statistics.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import scipy.stats
from numpy.typing import NDArray

FEWEST = 7
"""Smallest number of cases (patients) for which an interval is given.

With fewer, that of a mean covers less than 90 % where a third of the cases fails altogether.
"""
LEVEL = 0.95
Values = NDArray[np.float64]
Ends = list[float] | None


def mean_interval(
    values: Sequence[float], patients: Sequence[str] | None = None, *, within: tuple[float, float] = (-np.inf, np.inf)
) -> Ends:
    """95 % interval of the mean over cases; None for fewer than `FEWEST` cases or, where they are named, patients.

    Args:
        values: of the cases.
        patients: of each case; None if each is a patient of its own.
        within: range of the values; the interval ends there.

    >>> mean_interval([0.5] * 7), mean_interval([0.5] * 6)
    ([0.5, 0.5], None)
    """
    return mean_intervals([values], patients, within=[within])[0]


def mean_intervals(
    rows: Sequence[Sequence[float | None]] | Values,
    patients: Sequence[str] | None = None,
    *,
    within: Sequence[tuple[float, float]] | None = None,
) -> list[Ends]:
    """Apply `mean_interval` to many rows of values of the same cases, undefined ones NaN or None.

    Args:
        rows: (rows, cases).
        patients: (cases,).
        within: range per row.
    """
    values = np.array(rows, dtype=np.float64)
    if not values.size:
        return [None] * len(values)
    member = np.eye(values.shape[1]) if patients is None else membership(patients)
    there = np.isfinite(values)
    sums, counts = np.where(there, values, 0.0) @ member, there @ member
    with np.errstate(invalid="ignore", divide="ignore"):
        means = sums.sum(1) / counts.sum(1)
        others = (sums.sum(1, keepdims=True) - sums) / (counts.sum(1, keepdims=True) - counts)
    return jackknife(means, np.where(counts > 0, others, np.nan), within=within)


def jackknife(estimates: Values, others: Values, *, within: Sequence[tuple[float, float]] | None = None) -> list[Ends]:
    """95 % t intervals of estimates by what they are without each patient.

    Args:
        estimates: (rows,).
        others: (rows, patients), without each; NaN for a patient that an estimate does not rest on.
        within: range per row.

    Returns:
        Per row the ends; None where an estimate rests on fewer than `FEWEST` patients.
    """
    there = np.isfinite(others)
    units = there.sum(1)
    apart = np.where(there, others - estimates[:, None], 0.0)
    variance = (apart**2).sum(1) * (units - 1) / np.maximum(units, 1)
    half = scipy.stats.t.ppf((1 + LEVEL) / 2, np.maximum(units - 1, 1)) * np.sqrt(variance)
    ends = np.stack([estimates - half, estimates + half], axis=1)
    if within is not None:
        ends = np.clip(ends, *np.array(within, dtype=np.float64).T[..., None])
    return [pair if n >= FEWEST else None for pair, n in zip(ends.tolist(), units, strict=True)]


def median_interval(values: Sequence[float], patients: Sequence[str] | None = None) -> Ends:
    """95 % interval of the median over cases; None for fewer than `FEWEST` cases or, where they are named, patients.

    The exact one between two order statistics (`scipy.stats.quantile_test`). Where cases share a patient, the order
    statistics at the ends of the interval of the share of cases below the median (Woodruff 1952).
    """
    if len(values) < FEWEST:
        return None
    if patients is None or len(set(patients)) == len(patients):
        found = scipy.stats.quantile_test(values, p=0.5).confidence_interval(LEVEL)
        return [float(found.low), float(found.high)]
    ordered, median = np.sort(values), np.median(values)
    below = [(value < median) + 0.5 * (value == median) for value in values]
    share = mean_interval(below, patients, within=(0.0, 1.0))
    if share is None:
        return None
    low, high = math.floor(share[0] * len(values)) - 1, math.ceil(share[1] * len(values))
    return [float(ordered[max(low, 0)]), float(ordered[min(high, len(values) - 1)])]


def membership(patients: Sequence[str]) -> Values:
    """(cases, patients), 1 where a case is of a patient."""
    names, places = np.unique(np.asarray(patients), return_inverse=True)
    return np.eye(len(names))[places]
