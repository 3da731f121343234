"""How well a score orders cases: rank correlation, and risk over coverage."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.stats

from imaseg.statistics.interval import Ends, jackknife

_NEAR_ONE = 1 - 1e-9


def rank_correlation(
    one: Sequence[float], other: Sequence[float], patients: Sequence[str] | None = None
) -> tuple[float | None, Ends]:
    """Spearman's rank correlation over cases, and its 95 % interval over cases or patients.

    The interval is a t interval of Fisher's z by leaving out one patient at a time; None for fewer than `FEWEST`.

    Returns:
        None for fewer than three cases, or where one of the two is the same for all.
    """
    first, second = np.asarray(one, float), np.asarray(other, float)
    found = _spearman(first, second)
    if found is None:
        return None, None
    names = np.array([str(place) for place in range(len(first))] if patients is None else patients)
    without = [_spearman(first[names != name], second[names != name]) for name in np.unique(names)]
    others = [np.nan if value is None else _z(value) for value in without]
    ends = jackknife(np.array([_z(found)]), np.array([others]))[0]
    return found, None if ends is None else np.tanh(ends).tolist()


def _spearman(one: np.ndarray, other: np.ndarray) -> float | None:
    if len(one) < 3 or len({*one}) == 1 or len({*other}) == 1:
        return None
    return float(scipy.stats.spearmanr(one, other).statistic)


def _z(correlation: float) -> float:
    """Fisher's z, finite for a perfect order too."""
    return float(np.arctanh(np.clip(correlation, -_NEAR_ONE, _NEAR_ONE)))


def risk_coverage(score: Sequence[float], risk: Sequence[float]) -> float:
    """Area under the risk-coverage curve: mean over k of the mean risk of the k cases with the highest scores.

    Of equal scores every order is as likely: their risks count as their mean. Geifman & El-Yaniv, "Selective
    classification for deep neural networks", NeurIPS 2017.

    >>> risk_coverage([3.0, 2.0, 1.0], [0.0, 0.3, 0.6]), risk_coverage([1.0, 1.0], [0.0, 0.4])
    (0.15, 0.2)
    """
    scores, risks = np.asarray(score, float), np.asarray(risk, float)
    _, group = np.unique(-scores, return_inverse=True)
    means = np.bincount(group, weights=risks) / np.bincount(group)
    expected = means[np.sort(group)]
    return float(np.mean(np.cumsum(expected) / np.arange(1, len(expected) + 1)))
