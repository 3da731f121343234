"""Compares two audits on the same cases under the same probes, paired by case."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.stats

from imaseg.statistics.interval import FEWEST, Ends, mean_interval, membership

Row = dict[str, Any]
_Key = tuple[Any, ...]
_MEAN = "foreground_mean"
_COUNTS = ("_undefined", "_penalised")


def paired(
    summary_a: Mapping[str, Any], summary_b: Mapping[str, Any], *, names: tuple[str, str] | None = None
) -> list[Row]:
    """Compare audits `a` and `b` in each metric, clean and under each probe that both hold.

    Args:
        summary_a: content of a `summary.json`, the reference.
        summary_b: content of the `summary.json` of another model.
        names: names of both models (default: those in the summaries).

    Returns:
        One row per probe, eps and metric with at least one case in common: `probe` ("clean" for unchanged images, or
        the name of a corruption), `eps` (0 for clean, the severity of a corruption), `unit` of eps, `metric` (mean over
        the foreground of a case), `a` and `b` (names), `mean_a` and `mean_b` (over the cases for which both are
        defined), `difference` (b minus a), `ci95` (interval of the difference, cases in pairs), `n` (those cases),
        `patients` (of those cases, where the audits name them, else None), and `p` (two-sided Wilcoxon signed-rank test
        of the cases, or of the means of the patients, adjusted by Holm's method over the rows of the same metric).
        `ci95` and `p` are over the patients, else over the cases; None for fewer than `FEWEST` of them.
    """
    first, second = names or (summary_a["model"]["name"], summary_b["model"]["name"])
    blocks_a = dict(_blocks(summary_a))
    rows: list[Row] = []
    named = {case: name for one in (summary_a, summary_b) for case, name in _patients(one).items()}
    for key, block in _blocks(summary_b):
        if key not in blocks_a:
            continue
        before, after = _values(blocks_a[key]), _values(block)
        for metric, values in after.items():
            shared = [case for case in values if case in before.get(metric, {})]
            if shared:
                pairs = [(before[metric][case], values[case]) for case in shared]
                change = _Change([b - a for a, b in pairs], [named.get(case, case) for case in shared])
                a, b = (sum(side) / len(pairs) for side in zip(*pairs, strict=True))
                probe, eps, unit, *_ = key
                row = {"probe": probe, "eps": eps, "unit": unit, "metric": metric, "a": first, "b": second}
                row |= {"mean_a": a, "mean_b": b, "difference": change.mean, "ci95": change.interval, "n": len(pairs)}
                rows.append(row | {"patients": len({*change.units}) if named else None, "p": change.p})
    _adjust(rows)
    return rows


def holm(values: Sequence[float]) -> list[float]:
    """Adjust p-values for multiple testing (Holm, Scandinavian Journal of Statistics 1979).

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03, 0.005])]
    [0.03, 0.06, 0.06, 0.02]
    """
    order = np.argsort(values, kind="stable")
    adjusted = np.empty(len(values))
    adjusted[order] = np.maximum.accumulate(np.asarray(values)[order] * np.arange(len(values), 0, -1))
    return [float(value) for value in adjusted.clip(max=1.0)]


class _Change(NamedTuple):
    """Differences of cases, and the patient of each case, or the case itself."""

    gaps: list[float]
    units: list[str]

    @property
    def mean(self) -> float:
        """Over the cases."""
        return sum(self.gaps) / len(self.gaps)

    @property
    def interval(self) -> Ends:
        """Of the mean."""
        return mean_interval(self.gaps, self.units)

    @property
    def p(self) -> float | None:
        """Of the signed-rank test over the units."""
        member = membership(self.units)
        change = np.asarray(self.gaps) @ member / member.sum(0)
        if len(change) < FEWEST:
            return None
        return float(scipy.stats.wilcoxon(change).pvalue) if change.any() else 1.0


def _blocks(summary: Mapping[str, Any]) -> Iterator[tuple[_Key, Mapping[str, Any]]]:
    """Yield the comparable parts of a summary, each with the key that both audits must share."""
    yield ("clean", 0.0, ""), summary
    for entry in summary.get("probes", ()):
        searched = (entry["attack"], entry["perturbation"], entry.get("within"), entry.get("made_on", ""))
        yield (entry["probe"], entry["eps"], entry["unit"], *searched), entry
    for entry in summary.get("corruptions", ()):
        yield (entry["corruption"], entry["severity"], "severity"), entry


def _values(block: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Values by metric and case; undefined ones are left out."""
    by_metric: dict[str, dict[str, float]] = {}
    for entry in block["metric_per_case"]:
        for metric, value in entry["metrics"].get(_MEAN, {}).items():
            if value is not None and math.isfinite(value) and not metric.endswith(_COUNTS):
                by_metric.setdefault(metric, {})[entry["case"]] = value
    return by_metric


def _patients(summary: Mapping[str, Any]) -> Mapping[str, str]:
    """Patient by case, as far as the audit names them."""
    return (summary.get("intervals") or {}).get("patients", {})


def _adjust(rows: Sequence[Row]) -> None:
    """Adjust the p-values by Holm's method within each metric."""
    for metric in {row["metric"] for row in rows}:
        tested = [row for row in rows if row["metric"] == metric and row["p"] is not None]
        for row, p in zip(tested, holm([row["p"] for row in tested]), strict=True):
            row["p"] = p
