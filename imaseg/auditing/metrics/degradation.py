"""Degradation scores of ROOD-MRI: what corruptions cost, per corruption and over all.

Degradation is that of Boone et al., "ROOD-MRI: Benchmarking the robustness of deep learning segmentation models to
out-of-distribution and corrupted data in MRI", NeuroImage 2023, as the authors' package computes it: with M(c, s) the
mean Dice over cases under corruption c at severity s, M(0) the clean one and a = 2/3,

    D(c) = sum_s a^s (M(0) - M(c, s)) / sum_s a^s,   D = mean of D(c) over corruptions
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from imaseg.progress import counted
from imaseg.results.base import MEAN, Scores
from imaseg.results.case import CaseRecord
from imaseg.results.corruption import CorruptionRow, Degradation, LeftOutRow, Losses
from imaseg.statistics import jackknife, membership

ALPHA = 2 / 3
DEFINITION = (
    "Loss of mean foreground Dice against clean, averaged over severities s with weights (2/3)^s as in ROOD-MRI "
    "(Boone et al., NeuroImage 2023), then over corruptions; relative: divided by the clean Dice; unweighted: all "
    "severities alike. Positive is worse."
)
Values = NDArray[np.float64]


def degradation(records: Sequence[CaseRecord]) -> Degradation:
    """Degradation per corruption and over all, each with a 95 % interval over cases or patients."""
    rows = {record.case: record.rows_of(CorruptionRow) for record in records}
    names = list(dict.fromkeys(row.corruption for each in rows.values() for row in each))
    left_out = {row.corruption: row.reason for record in records for row in record.rows_of(LeftOutRow)}
    clean = np.array([_dice(record.clean) for record in records])
    weighted = np.array([[_loss(record, name, ALPHA) for name in names] for record in records])
    plain = np.array([[_loss(record, name, 1.0) for name in names] for record in records])
    units = membership([record.unit for record in records])
    main = _figures(weighted, units, names)
    scored = [place for place in range(len(names)) if clean[np.isfinite(weighted[:, place])].any()]  # not by Dice of 0
    worst = max(names, key=lambda name: main.per_corruption[name], default=None)
    return Degradation(
        **dict(main),
        worst=main.per_corruption[worst] if worst is not None else None,
        worst_corruption=worst,
        relative=_figures(weighted[:, scored], units, [names[place] for place in scored], clean),
        unweighted=_figures(plain, units, names),
        left_out={name: reason for name, reason in left_out.items() if name not in names},
        definition=DEFINITION,
    )


def degradation_line(scores: Degradation | None) -> str:
    """One line for the terminal; empty if no corruption was tried, or none occurs in these images."""
    if scores is None or scores.mean is None:
        return ""
    interval = f" [{scores.ci95[0]:.3f}, {scores.ci95[1]:.3f}]" if scores.ci95 else ""
    relative = scores.relative.mean
    share = f" ({relative:.0%} of the clean Dice)" if relative not in (None, scores.mean) else ""  # clean may be 1
    return (
        f"Degradation over {counted(len(scores.per_corruption), 'corruption')} (ROOD-MRI) {scores.mean:.3f}{interval}"
        f"{share}, worst {scores.worst:.3f} ({scores.worst_corruption})"
    )


def _figures(losses: Values, units: Values, names: Sequence[str], clean: Values | None = None) -> Losses:
    """Means over cases of losses (cases, corruptions), NaN where one does not occur, and their intervals.

    `units` (cases, patients) is 1 where a case is of a patient.
    """
    if not names:
        return Losses(per_corruption={}, per_corruption_ci95={}, mean=None, ci95=None)
    mean = _over_cases(losses, np.ones((1, len(losses))), clean)[0]
    without = _over_cases(losses, 1 - units.T, clean)
    over_all = np.where(np.isfinite(without), without, mean).mean(axis=1)  # it may occur in one patient only
    concerned = np.where(units.T @ np.isfinite(losses) > 0, without, np.nan)
    intervals = jackknife(np.append(mean, mean.mean()), np.vstack([concerned.T, over_all]))
    return Losses(
        per_corruption=dict(zip(names, mean.tolist(), strict=True)),
        per_corruption_ci95=dict(zip(names, intervals, strict=False)),
        mean=float(mean.mean()),
        ci95=intervals[-1],
    )


def _over_cases(losses: Values, chosen: Values, clean: Values | None) -> Values:
    """(choices, corruptions): mean loss over each choice of cases, divided by their mean clean Dice if that is given.

    `chosen` (choices, cases) is 1 for cases that are taken, else 0.
    """
    there = np.isfinite(losses)
    base = there if clean is None else there * clean[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        return (chosen @ np.where(there, losses, 0.0)) / (chosen @ base)


def _loss(record: CaseRecord, name: str, alpha: float) -> float:
    """Weighted loss of Dice of one case over the severities of a corruption; NaN if it does not occur there."""
    rows = [row for row in record.rows_of(CorruptionRow) if row.corruption == name]
    if not rows:
        return float("nan")
    weights = [alpha**row.severity for row in rows]
    losses = [_dice(record.clean) - row.dice for row in rows]
    return sum(weight * loss for weight, loss in zip(weights, losses, strict=True)) / sum(weights)


def _dice(scores: Scores) -> float:
    value = scores[MEAN]["dice"]
    return float(value if value is not None else "nan")
