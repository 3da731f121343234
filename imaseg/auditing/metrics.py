"""Metrics of one prediction: Dice, HD95, surface Dice, false-positive volume, per class."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from monai.metrics import compute_hausdorff_distance, compute_surface_dice
from torch import Tensor

METRICS = ("dice", "hd95", "surface_dice", "fp_volume")
Scores = dict[str, dict[str, float | None]]


def score(
    prediction: Tensor, label: Tensor, dice: Tensor, *, spacing: Sequence[float], classes: Sequence[int]
) -> Scores:
    """Score a prediction.

    Args:
        prediction: integer (*spatial).
        label: integer (*spatial); negative values are ignored.
        dice: (K,) hard Dice per channel, of the same prediction.
        spacing: voxel size in mm.
        classes: foreground classes to report.

    Returns:
        By class (and "foreground_mean"): `dice`; `hd95` in mm, None if a class is absent on one side only, 0 if on
        both; `surface_dice` at a tolerance of one voxel; `fp_volume` in mm^3, the volume predicted of a class that
        the label does not have. The mean is over the classes for which the metric is defined.
    """
    valid = label >= 0
    truth = torch.stack([label == k for k in classes])[None]
    found = torch.stack([(prediction == k) & valid for k in classes])[None]
    voxel = math.prod(spacing)
    with np.errstate(all="ignore"):
        hd95 = compute_hausdorff_distance(found, truth, include_background=True, percentile=95, spacing=list(spacing))[
            0
        ]
        surface = compute_surface_dice(found, truth, [1.0] * len(classes), include_background=True)[0]
    scores: Scores = {}
    for row, k in enumerate(classes):
        absent, painted = not bool(truth[0, row].any()), int(found[0, row].sum())
        empty = absent and painted == 0
        scores[str(k)] = {
            "dice": float(dice[k]),
            "hd95": 0.0 if empty else _finite(hd95[row]),
            "surface_dice": 1.0 if empty else (0.0 if absent or painted == 0 else _finite(surface[row])),
            "fp_volume": painted * voxel if absent else 0.0,
        }
    scores["foreground_mean"] = mean_scores(list(scores.values()))
    return scores


def mean_scores(rows: Sequence[dict[str, float | None]]) -> dict[str, float | None]:
    """Mean of each metric over the rows where it is defined; `<metric>_undefined` counts the others."""
    means: dict[str, float | None] = {}
    for metric in METRICS:
        values = [value for row in rows if (value := row[metric]) is not None]
        means[metric] = sum(values) / len(values) if values else None
        if len(values) < len(rows):
            means[f"{metric}_undefined"] = float(len(rows) - len(values))
    return means


def bootstrap(values: Sequence[float], *, seed: int = 0, draws: int = 2000, median: bool = False) -> list[float]:
    """95 % percentile-bootstrap interval of the mean (or median) over cases."""
    sample = np.asarray(values, dtype=np.float64)
    index = np.random.default_rng(seed).integers(len(sample), size=(draws, len(sample)))
    statistic = np.median(sample[index], axis=1) if median else sample[index].mean(1)
    low, high = np.percentile(statistic, [2.5, 97.5])
    return [float(low), float(high)]


def _finite(value: Tensor) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None
