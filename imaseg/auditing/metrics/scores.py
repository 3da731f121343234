"""Metrics of one prediction, per class and over the foreground; docs/metrics.md defines each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy.ndimage import find_objects
from torch import Tensor

from imaseg.auditing.metrics.surfaces import SurfaceScores, Volume, surface_scores
from imaseg.results.base import MEAN, Metrics, Scores
from imaseg.statistics import bootstrap_each

METRICS = (
    "dice", "surface_dice", "surface_dice_2mm", "hd95", "volume_error", "fp_volume", "missed", "false_positive", "ece",
)  # fmt: skip


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
    found, truth = _cropped(*(volume.masked_fill(ignored, 0).numpy() for volume in (prediction, label)))
    most = max(classes) + 1
    painted, real, both = (
        np.bincount(volume.ravel(), minlength=most) for volume in (found, truth, found[found == truth])
    )
    surfaces = surface_scores(found, truth, spacing=spacing, classes=[k for k in classes if painted[k] and real[k]])
    scores: Scores = {}
    for k in classes:
        agree = float(painted[k] == real[k])  # for classes that are not in both
        surface = surfaces[k] if k in surfaces else SurfaceScores(agree, agree, 0.0 if agree else None)
        voxel = math.prod(spacing)
        scores[str(k)] = {
            "dice": float(dice[k]),
            **surface._asdict(),
            "volume_error": float(painted[k] - real[k]) * voxel / 1000,
            "fp_volume": 0.0 if real[k] else float(painted[k]) * voxel,
            "missed": float(real[k] > 0 and not both[k]),
            "false_positive": float(painted[k] > 0 and not real[k]),
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


def _columns(rows: Sequence[Mapping[str, float | None]]) -> dict[str, list[float]]:
    """Defined values of each metric that any row has."""
    return {
        metric: [value for row in rows if (value := row.get(metric)) is not None]
        for metric in METRICS
        if any(metric in row for row in rows)
    }


def _cropped(found: Volume, truth: Volume) -> tuple[Volume, Volume]:
    """Both volumes in the box that holds everything but background."""
    inside = find_objects(((found > 0) | (truth > 0)).astype(np.uint8))
    box = inside[0] if inside else (slice(0),)
    return found[box], truth[box]
