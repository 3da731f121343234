"""Metrics of one prediction, per class and over the foreground; docs/metrics.md defines each."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from imaseg.auditing.metrics.surfaces import SurfaceScores, Volume, cropped, surface_scores
from imaseg.results.base import MEAN, CaseScores, Metrics, Scores
from imaseg.statistics import bootstrap_each


class Pair(NamedTuple):
    """A prediction and its label, cropped to what is not background, and what several metrics need of them.

    Attributes:
        found, truth: class numbers (*spatial), predicted and labelled.
        spacing: voxel size in mm.
        dice: (K,) hard Dice per channel.
        painted, real, both: voxels by class: predicted, labelled, and both at once.
        surfaces: by class.
    """

    found: Volume
    truth: Volume
    spacing: Sequence[float]
    dice: Tensor
    painted: NDArray[np.intp]
    real: NDArray[np.intp]
    both: NDArray[np.intp]
    surfaces: Mapping[int, SurfaceScores]

    @property
    def voxel(self) -> float:
        """Volume of a voxel in mm^3."""
        return math.prod(self.spacing)


class Metric(NamedTuple):
    """How a metric is measured, per class; None for one that is taken of the whole case (`Scene.score`)."""

    measure: Callable[[Pair, int], float | None] | None
    higher_is_better: bool = False


METRICS: dict[str, Metric] = {
    "dice": Metric(lambda pair, k: float(pair.dice[k]), higher_is_better=True),
    "surface_dice": Metric(lambda pair, k: pair.surfaces[k].surface_dice, higher_is_better=True),
    "surface_dice_2mm": Metric(lambda pair, k: pair.surfaces[k].surface_dice_2mm, higher_is_better=True),
    "hd95": Metric(lambda pair, k: pair.surfaces[k].hd95),
    "volume_error": Metric(lambda pair, k: float(pair.painted[k] - pair.real[k]) * pair.voxel / 1000),
    "fp_volume": Metric(lambda pair, k: 0.0 if pair.real[k] else float(pair.painted[k]) * pair.voxel),
    "missed": Metric(lambda pair, k: float(pair.real[k] > 0 and not pair.both[k])),
    "false_positive": Metric(lambda pair, k: float(pair.painted[k] > 0 and not pair.real[k])),
    "ece": Metric(None),
}
"""By name. What a page says of each stands in `report/metrics.py`."""


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
        By class: `dice`; `surface_dice` at one voxel and `surface_dice_2mm`; `hd95` in mm, None if the class is absent
        on one side only, 0 if on both; `volume_error` in ml, predicted minus true; `fp_volume` in mm^3, predicted of a
        class that the label does not have; `missed`, 1 if the label has the class and no voxel of it was found; and
        `false_positive`, 1 if a class was predicted that the label does not have. Under "foreground_mean" the mean of
        each over the classes for which it is defined.
    """
    ignored = label < 0
    found, truth = cropped(*(volume.masked_fill(ignored, 0).numpy() for volume in (prediction, label)))
    most = max(classes) + 1
    painted, real, both = (
        np.bincount(volume.ravel(), minlength=most) for volume in (found, truth, found[found == truth])
    )
    surfaces = surface_scores(found, truth, spacing=spacing, classes=[k for k in classes if painted[k] and real[k]])
    for k in classes:
        agree = float(painted[k] == real[k])  # for classes that are not in both
        surfaces.setdefault(k, SurfaceScores(agree, agree, 0.0 if agree else None))
    pair = Pair(found, truth, spacing, dice, painted, real, both, surfaces)
    scores: Scores = {
        str(k): {name: metric.measure(pair, k) for name, metric in METRICS.items() if metric.measure} for k in classes
    }
    scores[MEAN] = mean_scores(list(scores.values()))
    return scores


def score_regions(
    prediction: Tensor, label: Tensor, dice: Tensor, *, spacing: Sequence[float], groups: Mapping[int, Sequence[int]]
) -> Scores:
    """As `score`, of regions that may lie within each other: each by itself, inside against outside.

    Args:
        prediction: as in `score`, like `label` and `spacing`.
        label: classes.
        dice: (1 + regions,), of region k at place k.
        spacing: voxel size in mm.
        groups: classes inside each region.
    """
    scores: Scores = {}
    for k, inside in groups.items():
        found, truth = (torch.isin(volume, torch.tensor(inside)).long() for volume in (prediction, label))
        truth = truth.masked_fill(label < 0, -1)
        scores[str(k)] = score(found, truth, dice[[0, k]], spacing=spacing, classes=[1])["1"]
    scores[MEAN] = mean_scores(list(scores.values()))
    return scores


def volumes_ml(label: Tensor, *, spacing: Sequence[float], groups: Mapping[int, Sequence[int]]) -> dict[str, float]:
    """Volume of each structure, a set of classes, in a label (*spatial)."""
    ml = math.prod(spacing) / 1000
    return {str(k): int(torch.isin(label, label.new_tensor(inside)).sum()) * ml for k, inside in groups.items()}


def mean_scores(rows: Sequence[Mapping[str, float | None]]) -> Metrics:
    """Mean of each metric over the rows where it is defined; `<metric>_undefined` counts the others."""
    means: Metrics = {}
    for metric, values in _columns(rows).items():
        means[metric] = sum(values) / len(values) if values else None
        if len(values) < len(rows):
            means[f"{metric}_undefined"] = float(len(rows) - len(values))
    return means


def interval_scores(blocks: Mapping[str, Sequence[Mapping[str, float | None]]]) -> dict[str, dict[str, Any]]:
    """95 % bootstrap interval of each mean that `mean_scores` gives, for several lists of rows by name."""
    columns = {(name, metric): values for name, rows in blocks.items() for metric, values in _columns(rows).items()}
    found: dict[str, dict[str, Any]] = {name: {} for name in blocks}
    for (name, metric), interval in bootstrap_each(columns).items():
        found[name][metric] = interval
    return found


def block(scores: Mapping[str, Scores], labels: Mapping[int, str]) -> dict[str, Any]:
    """Means of all metrics over cases, with intervals: the fields of `imaseg.results.base.Block`.

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


def _columns(rows: Sequence[Mapping[str, float | None]]) -> dict[str, list[float]]:
    """Defined values of each metric that any row has."""
    return {
        metric: [value for row in rows if (value := row.get(metric)) is not None]
        for metric in METRICS
        if any(metric in row for row in rows)
    }


def dice_of_maps(prediction: Volume, label: Volume, groups: Mapping[int, Sequence[int]]) -> dict[str, float]:
    """Dice of two label maps by structure, each a set of classes; 1 where one is in neither.

    Voxels with a negative label are ignored.
    """
    scores, counts = {}, label >= 0
    for k, inside in groups.items():
        found, truth = np.isin(prediction, inside) & counts, np.isin(label, inside)
        total = int(found.sum()) + int(truth.sum())
        scores[str(k)] = 2 * int((found & truth).sum()) / total if total else 1.0
    return scores
