"""Dice by the size of the structure: small ones fail first, and a mean over all sizes hides it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from imaseg.auditing.metrics.scores import METRICS, mean_of_known
from imaseg.results.base import CaseScores
from imaseg.results.summary import SizeGroup, SizeProbe
from imaseg.statistics import mean_intervals

_FEWEST = 3
"""Smallest group."""
RULE = (
    f"Thirds of the reference volume of each structure over the cases that hold it; halves below {3 * _FEWEST} such "
    f"cases, all together below {2 * _FEWEST}."
)
_NAMES = {1: ("all",), 2: ("small", "large"), 3: ("small", "medium", "large")}


def by_size(
    volumes: Mapping[str, Mapping[str, float]],
    clean: Sequence[CaseScores],
    probes: Sequence[tuple[str, float, Sequence[CaseScores]]],
    classes: Sequence[str],
    units: Mapping[str, str],
) -> list[SizeGroup]:
    """Mean Dice of each class in each group of sizes.

    Args:
        volumes: reference volume in ml by case and class.
        clean: scores of the unchanged images.
        probes: name, budget and scores of each attack.
        classes: to report.
        units: what intervals are over, by case (`imaseg.results.case.units_of`).
    """
    scored = (clean, *(scores for _, _, scores in probes))
    tables = [_dice(scores) for scores in scored]
    on_files = [{one.case: one.metrics for one in scores} for scores in scored]
    entries = []
    for k in classes:
        sizes = {case: of[k] for case, of in volumes.items() if of.get(k, 0.0) > 0}
        for name, cases in groups(sizes).items():
            rows = [[table[case][k] for case in cases] for table in tables]
            there = [mean_of_known([table[case][k].get("native_dice") for case in cases]) for table in on_files]
            patients = [units[case] for case in cases]
            intervals = mean_intervals(rows, patients, within=[METRICS["dice"].within] * len(rows))
            clean_mean, *means = (sum(values) / len(values) for values in rows)
            attacked = [
                SizeProbe(probe=probe, eps=eps, dice=mean, ci95=intervals[step], native_dice=there[step])
                for step, ((probe, eps, _), mean) in enumerate(zip(probes, means, strict=True), start=1)
            ]
            entries.append(
                SizeGroup(
                    group=name,
                    structure=k,
                    volume_ml=[sizes[cases[0]], sizes[cases[-1]]],
                    n=len(cases),
                    clean=clean_mean,
                    clean_ci95=intervals[0],
                    clean_native=there[0],
                    probes=attacked,
                )
            )
    return entries


def groups(volumes: Mapping[str, float]) -> dict[str, list[str]]:
    """Cases by group of size as `RULE` says, each from small to large; equal volumes share a group.

    >>> groups({"a": 3.0, "b": 1.0, "c": 2.0, "d": 6.0, "e": 5.0, "f": 4.0})
    {'small': ['b', 'c', 'a'], 'large': ['f', 'e', 'd']}
    """
    ordered = sorted(volumes, key=lambda case: (volumes[case], case))
    names = _NAMES[min(3, max(1, len(ordered) // _FEWEST))]
    found: dict[str, list[str]] = {}
    if ordered:
        edges = np.quantile([*volumes.values()], np.arange(1, len(names)) / len(names))
        for case in ordered:
            found.setdefault(names[int(np.searchsorted(edges, volumes[case]))], []).append(case)
    return found


def _dice(scores: Sequence[CaseScores]) -> dict[str, dict[str, float]]:
    """By case and class."""
    return {one.case: {k: of["dice"] or 0.0 for k, of in one.metrics.items()} for one in scores}
