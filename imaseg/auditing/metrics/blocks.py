"""Means of all metrics over cases, with intervals: the block of numbers that every summary is made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from imaseg.auditing.metrics.scores import interval_scores, mean_scores
from imaseg.results.base import MEAN, CaseScores, Scores


def block(scores: Mapping[str, Scores], labels: Mapping[int, str]) -> dict[str, Any]:
    """The fields of `imaseg.results.base.Block`.

    Args:
        scores: by case.
        labels: name by class number.
    """
    rows = {k: [case[k] for case in scores.values()] for k in (MEAN, *(str(k) for k in labels if k > 0))}
    means = {k: mean_scores(of) for k, of in rows.items()}
    intervals = interval_scores(rows)
    return {
        "foreground_mean": means.pop(MEAN),
        "ci95": intervals.pop(MEAN),
        "mean": means,
        "mean_ci95": intervals,
        "metric_per_case": [CaseScores(case=case, metrics=values) for case, values in scores.items()],
    }
