"""Dice by the size of the structure: small ones fail first, and a mean over all sizes hides it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from imaseg.statistics import FEWEST, bootstrap_each

RULE = (
    f"Thirds of the reference volume of each structure over the cases that hold it; halves below {3 * FEWEST} such "
    f"cases, all together below {2 * FEWEST}."
)
_NAMES = {1: ("all",), 2: ("small", "large"), 3: ("small", "medium", "large")}
_Block = Mapping[str, Any]


def by_size(
    volumes: Mapping[str, Mapping[str, float]], clean: _Block, probes: Sequence[_Block], classes: Sequence[str]
) -> list[dict[str, Any]]:
    """Mean Dice of each class in each group of sizes.

    Args:
        volumes: reference volume in ml by case and class.
        clean: holds `metric_per_case`.
        probes: likewise, each with `probe` and `eps`.
        classes: to report.

    Returns:
        One entry per class and group: `group`, `class`, `volume_ml` (smallest and largest), `n`, `clean` (mean Dice)
        with `clean_ci95`, and `probes` with `probe`, `eps`, `dice` and `ci95` each.
    """
    tables = [_dice(block) for block in (clean, *probes)]
    entries = []
    for k in classes:
        known = {case: of[k] for case, of in volumes.items() if of.get(k, 0.0) > 0}
        for name, cases in groups(known).items():
            columns = {place: [table[case][k] for case in cases] for place, table in enumerate(tables)}
            intervals = bootstrap_each(columns)
            means = [sum(values) / len(values) for values in columns.values()]
            entries.append(
                {
                    "group": name,
                    "class": k,
                    "volume_ml": [known[cases[0]], known[cases[-1]]],
                    "n": len(cases),
                    "clean": means[0],
                    "clean_ci95": intervals[0],
                    "probes": [
                        {"probe": probe["probe"], "eps": probe["eps"], "dice": means[place], "ci95": intervals[place]}
                        for place, probe in enumerate(probes, start=1)
                    ],
                }
            )
    return entries


def groups(volumes: Mapping[str, float]) -> dict[str, list[str]]:
    """Cases by group of size as `RULE` says, each from small to large; equal volumes share a group.

    >>> groups({"a": 3.0, "b": 1.0, "c": 2.0, "d": 6.0, "e": 5.0, "f": 4.0})
    {'small': ['b', 'c', 'a'], 'large': ['f', 'e', 'd']}
    """
    ordered = sorted(volumes, key=lambda case: (volumes[case], case))
    names = _NAMES[min(3, max(1, len(ordered) // FEWEST))]
    found: dict[str, list[str]] = {}
    if ordered:
        edges = np.quantile([*volumes.values()], np.arange(1, len(names)) / len(names))
        for case in ordered:
            found.setdefault(names[int(np.searchsorted(edges, volumes[case]))], []).append(case)
    return found


def _dice(block: _Block) -> dict[str, dict[str, float]]:
    """By case and class."""
    return {entry["case"]: {k: of["dice"] for k, of in entry["metrics"].items()} for entry in block["metric_per_case"]}
