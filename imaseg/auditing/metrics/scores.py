"""Metrics of one prediction, per class and over the foreground; docs/metrics.md defines each."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from imaseg.auditing.metrics.instances import COUNTED, SIZES, Instances, instance_scores
from imaseg.auditing.metrics.shares import share
from imaseg.auditing.metrics.surfaces import SurfaceScores, Volume, cropped, surface_scores
from imaseg.results.base import COUNTS, MEAN, CaseScores, Metrics, Scores
from imaseg.statistics import mean_intervals


class Pair(NamedTuple):
    """A prediction and its label, cropped to what is not background, and what several metrics need of them.

    Attributes:
        found, truth: class numbers (*spatial), predicted and labelled.
        spacing: voxel size in mm.
        dice: (K,) hard Dice per channel.
        painted, real, both: voxels by class: predicted, labelled, and both at once.
        surfaces: by class.
        diagonal: of the whole image, in mm.
        instances: which classes are counted instance by instance, and how; None for none.
    """

    found: Volume
    truth: Volume
    spacing: Sequence[float]
    dice: Tensor
    painted: NDArray[np.intp]
    real: NDArray[np.intp]
    both: NDArray[np.intp]
    surfaces: Mapping[int, SurfaceScores]
    diagonal: float
    instances: Instances | None = None

    @property
    def voxel(self) -> float:
        """Volume of a voxel in mm^3."""
        return math.prod(self.spacing)


class Metric(NamedTuple):
    """How a metric is measured and averaged.

    Attributes:
        measure: per class; None for a metric that is taken of the whole case or on the grid of the files
            (`Scene.score`), or `asked` for.
        higher_is_better: its direction.
        of_held: whether the mean of a case is over the classes that its label holds. Of others it would be decided by
            one voxel.
        within: range of its values, which intervals do not leave.
        penalty: what means take for an undefined value; None if they leave it out.
        asked: whether it is taken only of the classes that a plan asks for (`Instances`).
    """

    measure: Callable[[Pair, int], float | None] | None
    higher_is_better: bool = False
    of_held: bool = False
    within: tuple[float, float] = (-math.inf, math.inf)
    penalty: Callable[[Pair], float] | None = None
    asked: bool = False


_SHARE, _SIZE = (0.0, 1.0), (0.0, math.inf)
METRICS: dict[str, Metric] = {
    "dice": Metric(lambda pair, k: float(pair.dice[k]), True, True, _SHARE),
    "native_dice": Metric(None, True, True, _SHARE),
    "surface_dice": Metric(lambda pair, k: pair.surfaces[k].surface_dice, True, True, _SHARE),
    "surface_dice_2mm": Metric(lambda pair, k: pair.surfaces[k].surface_dice_2mm, True, True, _SHARE),
    # Left out of a mean, a structure that was missed altogether would be better than one found badly.
    "hd95": Metric(
        lambda pair, k: pair.surfaces[k].hd95, of_held=True, within=_SIZE, penalty=lambda pair: pair.diagonal
    ),
    "assd": Metric(
        lambda pair, k: pair.surfaces[k].assd, of_held=True, within=_SIZE, penalty=lambda pair: pair.diagonal
    ),
    "precision": Metric(
        lambda pair, k: share(pair.both[k], pair.painted[k], pair.real[k]), True, True, _SHARE, penalty=lambda _: 0.0
    ),
    "recall": Metric(lambda pair, k: share(pair.both[k], pair.real[k], pair.painted[k]), True, True, _SHARE),
    "volume_error": Metric(lambda pair, k: float(pair.painted[k] - pair.real[k]) * pair.voxel / 1000),
    "relative_volume_error": Metric(
        lambda pair, k: share(pair.painted[k] - pair.real[k], pair.real[k], pair.painted[k], neither=0.0),
        of_held=True,
        within=(-1.0, math.inf),
    ),
    "fp_volume": Metric(lambda pair, k: 0.0 if pair.real[k] else float(pair.painted[k]) * pair.voxel, within=_SIZE),
    "missed": Metric(lambda pair, k: float(pair.real[k] > 0 and not pair.both[k]), of_held=True, within=_SHARE),
    "false_positive": Metric(lambda pair, k: float(pair.painted[k] > 0 and not pair.real[k]), within=_SHARE),
    "ece": Metric(None, within=_SHARE),
    **{
        name: Metric(None, within=_SIZE, asked=True)
        for name in (f"{count}{size}" for count in COUNTED for size in ("", *(f"_{size}" for size in SIZES)))
    },
    "instance_recall": Metric(None, True, True, _SHARE, asked=True),
    "instance_precision": Metric(None, True, True, _SHARE, penalty=lambda _: 0.0, asked=True),
    "instance_f1": Metric(None, True, True, _SHARE, asked=True),
    "instance_sq": Metric(None, True, True, _SHARE, asked=True),
    "instance_pq": Metric(None, True, True, _SHARE, asked=True),
}
"""By name. What a page says of each stands in `report/metrics.py`."""


def score(
    prediction: Tensor,
    label: Tensor,
    dice: Tensor,
    *,
    spacing: Sequence[float],
    classes: Sequence[int],
    instances: Instances | None = None,
) -> Scores:
    """Score a prediction.

    Args:
        prediction: integer (*spatial).
        label: integer (*spatial); negative values are ignored.
        dice: (K,) hard Dice per channel, of the same prediction.
        spacing: voxel size in mm.
        classes: foreground classes to report.
        instances: which of them are counted instance by instance, and how.

    Returns:
        By class: `dice`; `surface_dice` at one voxel and `surface_dice_2mm`; `hd95` in mm, None if the class is absent
        on one side only (`hd95_penalty`, the diagonal of the image, then stands beside it), 0 if on both; `assd`
        likewise; `precision` and `recall` of voxels, None if nothing was predicted (`precision_penalty`, 0, then stands
        beside it), or labelled, 1 if neither; `volume_error` in ml, predicted minus true, and `relative_volume_error`
        as a share of the true volume, None if that is 0 and the class was predicted; `fp_volume` in mm^3, predicted of
        a class that the label does not have; `missed`, 1 if the label has the class and no voxel of it was found; and
        `false_positive`, 1 if a class was predicted that the label does not have; and of `instances` what
        `instance_scores` returns. Under "foreground_mean" the mean of each (`foreground_scores`).
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
        surfaces.setdefault(k, SurfaceScores(agree, agree, *[0.0 if agree else None] * 2))
    diagonal = math.hypot(*(n * size for n, size in zip(label.shape, spacing, strict=True)))
    pair = Pair(found, truth, spacing, dice, painted, real, both, surfaces, diagonal, instances)
    scores: Scores = {str(k): _measured(pair, k) for k in classes}
    scores[MEAN] = foreground_scores(scores, [k for k in classes if real[k]])
    return scores


def _measured(pair: Pair, k: int) -> Metrics:
    """Every metric of a class, and beside undefined ones what means take instead."""
    found = {name: metric.measure(pair, k) for name, metric in METRICS.items() if metric.measure}
    if pair.instances and k in pair.instances.classes:
        masks = pair.found == k, pair.truth == k
        found |= instance_scores(*masks, spacing=pair.spacing, settings=pair.instances)
    lost = [name for name, value in found.items() if value is None]
    return found | {f"{name}_penalty": penalty(pair) for name in lost if (penalty := METRICS[name].penalty)}


def score_regions(
    prediction: Tensor,
    label: Tensor,
    dice: Tensor,
    *,
    spacing: Sequence[float],
    groups: Mapping[int, Sequence[int]],
    instances: Instances | None = None,
) -> Scores:
    """As `score`, of regions that may lie within each other: each by itself, inside against outside.

    Args:
        prediction: as in `score`, like `label` and `spacing`.
        label: classes.
        dice: (1 + regions,), of region k at place k.
        spacing: voxel size in mm.
        groups: classes inside each region.
        instances: which regions are counted instance by instance, and how.
    """
    scores: Scores = {}
    for k, inside in groups.items():
        found, truth = (torch.isin(volume, torch.tensor(inside)).long() for volume in (prediction, label))
        truth = truth.masked_fill(label < 0, -1)
        counted = instances.model_copy(update={"classes": [1]}) if instances and k in instances.classes else None
        one = score(found, truth, dice[[0, k]], spacing=spacing, classes=[1], instances=counted)
        scores[str(k)] = one["1"]
    scores[MEAN] = foreground_scores(
        scores, [k for k, inside in groups.items() if torch.isin(label, torch.tensor(inside)).any()]
    )
    return scores


def add_native_dice(scores: Scores, prediction: Volume, label: Volume, *, groups: Mapping[int, Sequence[int]]) -> None:
    """Add `native_dice`: Dice of a prediction and its label on the grid of the files.

    The mean is over the structures that the label holds there: what is lost in resampling counts as missed.
    """
    found = dice_of_maps(prediction, label, groups)
    for k, value in found.items():
        scores[k]["native_dice"] = value
    scores[MEAN]["native_dice"] = mean_of_held(found, structures_in(label, groups))


def volumes_ml(label: Tensor, *, spacing: Sequence[float], groups: Mapping[int, Sequence[int]]) -> dict[str, float]:
    """Volume of each structure, a set of classes, in a label (*spatial)."""
    ml = math.prod(spacing) / 1000
    return {str(k): int(torch.isin(label, label.new_tensor(inside)).sum()) * ml for k, inside in groups.items()}


def foreground_scores(scores: Scores, held: Collection[int]) -> Metrics:
    """Mean of each metric of a case over its classes, or over those `held` by its label where `Metric.of_held` says so.

    Where the label holds none, over all: what is found there is wrong. What is measured of other classes alone is
    undefined.
    """
    every, present = list(scores.values()), [scores[str(k)] for k in held]
    means, of_held = mean_scores(every), mean_scores(present or every)
    names = [name for name, metric in METRICS.items() if metric.of_held and name in means]
    means |= dict.fromkeys(names)
    for name in (name + end for name in names for end in ("", *COUNTS)):
        if name in of_held:
            means[name] = of_held[name]
        elif name.endswith(COUNTS):
            means.pop(name, None)
    return means


def structures_in(label: Volume, groups: Mapping[int, Sequence[int]]) -> list[str]:
    """Structures that a label map holds."""
    return [str(k) for k, inside in groups.items() if np.isin(label, inside).any()]


def mean_of_held(dice: Mapping[str, float], held: Collection[str]) -> float:
    """Mean Dice of a case over the structures that its label holds, over all where it holds none."""
    return statistics.fmean([dice[k] for k in held] or dice.values())


def mean_of_known(values: Sequence[float | None]) -> float | None:
    """Mean of values that are all known; else None."""
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known and len(known) == len(values) else None


def mean_scores(rows: Sequence[Mapping[str, float | None]]) -> Metrics:
    """Mean of each metric over the rows where it is defined or has a penalty.

    `<metric>_undefined` counts the other rows that have it, `<metric>_penalised` the penalties in the mean.
    """
    means: Metrics = {}
    for metric, column in _columns(rows).items():
        values = [value for value in column if value is not None]
        means[metric] = sum(values) / len(values) if values else None
        counts = (sum(metric in row for row in rows) - len(values), sum(_penalised(row, metric) for row in rows))
        means |= {metric + end: float(count) for end, count in zip(COUNTS, counts, strict=True) if count}
    return means


def interval_scores(
    blocks: Mapping[str, Sequence[Mapping[str, float | None]]], patients: Sequence[str] | None = None
) -> dict[str, dict[str, Any]]:
    """95 % interval of each mean that `mean_scores` gives, for several lists of rows, of the same cases, by name."""
    columns = {(name, metric): values for name, rows in blocks.items() for metric, values in _columns(rows).items()}
    within = [METRICS[metric].within for _, metric in columns]
    found: dict[str, dict[str, Any]] = {name: {} for name in blocks}
    intervals = mean_intervals(list(columns.values()), patients, within=within)
    for (name, metric), interval in zip(columns, intervals, strict=True):
        found[name][metric] = interval
    return found


def block(scores: Mapping[str, Scores], labels: Mapping[int, str], units: Mapping[str, str]) -> dict[str, Any]:
    """Means of all metrics over cases, with intervals: the fields of `imaseg.results.base.Block`.

    Args:
        scores: by case.
        labels: name by class number.
        units: patient of each case, or whatever the intervals are over (`imaseg.results.case.units_of`).
    """
    rows = {k: [case[k] for case in scores.values()] for k in (MEAN, *(str(k) for k in labels if k > 0))}
    means = {k: mean_scores(of) for k, of in rows.items()}
    intervals = interval_scores(rows, [units[case] for case in scores])
    return {
        "foreground_mean": means.pop(MEAN),
        "ci95": intervals.pop(MEAN),
        "mean": means,
        "mean_ci95": intervals,
        "metric_per_case": [CaseScores(case=case, metrics=values) for case, values in scores.items()],
    }


def _columns(rows: Sequence[Mapping[str, float | None]]) -> dict[str, list[float | None]]:
    """Each metric that any row has, the penalty where it is undefined, None where it has none."""
    return {
        metric: [row.get(f"{metric}_penalty") if row.get(metric) is None else row[metric] for row in rows]
        for metric in METRICS
        if any(metric in row for row in rows)
    }


def _penalised(row: Mapping[str, float | None], metric: str) -> float:
    """How many penalties are in a value, which may be a mean itself."""
    return row.get(f"{metric}_penalised") or float(row.get(metric) is None and f"{metric}_penalty" in row)


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
