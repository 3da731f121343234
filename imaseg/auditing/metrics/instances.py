"""Instances of a structure, such as lesions: found, missed and invented ones, and panoptic quality.

An instance is a connected component of the voxels of a structure. A labelled and a predicted one may be a pair if they
overlap and their intersection over union is at least `iou`. Each is in one pair at most; of all ways to pair them that
with the largest sum of IoU counts, of equal ones that with more pairs (Kuhn, Naval Research Logistics 1955). With p
pairs, m missed (labelled ones without a partner) and i invented (predicted ones without),

    recall = p / (p + m)    precision = p / (p + i)    F1 = RQ = 2 p / (2 p + m + i)    SQ = mean IoU of the pairs

and panoptic quality is PQ = SQ * RQ (Kirillov et al., CVPR 2019).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field
from scipy.ndimage import generate_binary_structure, label
from scipy.optimize import linear_sum_assignment

from imaseg.auditing.metrics.shares import share
from imaseg.results.base import Metrics

SIZES = ("small", "medium", "large")
COUNTED = ("instances", "instances_missed", "instances_predicted", "instances_invented")
"""Numbers of instances, which are given of each size too."""
_ROUNDING = 1 + 1e-5
"""Voxel sizes come from float32 headers."""
_TIE = 1e-9
"""IoU that a pair more is worth."""


def _rising(sizes: list[float]) -> list[float]:
    if not 0 < sizes[0] < sizes[1]:
        msg = f"sizes must be two rising volumes in mm3 above 0, got {sizes}. Write [100, 1000], for example."
        raise ValueError(msg)
    return sizes


def _once(classes: list[int]) -> list[int]:
    return sorted(set(classes))


class Instances(BaseModel, extra="forbid", frozen=True):
    """Which structures are counted instance by instance, and how.

    Attributes:
        classes: numbers of the structures, each of whose connected components is an instance.
        iou: intersection over union from which on a labelled and a predicted instance may be a pair; 0 for any overlap.
        connectivity: what touches belongs together: by a face, or by a face, an edge or a corner.
        smallest: volume in mm3 below which a component is no instance, neither in the label nor in the prediction.
        sizes: volumes in mm3 from which on an instance is medium, and large.
    """

    classes: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1), AfterValidator(_once)]
    iou: float = Field(0.1, ge=0, le=1)
    connectivity: Literal["faces", "corners"] = "corners"
    smallest: float = Field(0.0, ge=0)
    sizes: Annotated[list[float], Field(min_length=2, max_length=2), AfterValidator(_rising)] = [100.0, 1000.0]

    @property
    def rule(self) -> str:
        """In words, for results and pages."""
        touch = "a face" if self.connectivity == "faces" else "a face, an edge or a corner"
        least = f" of {self.smallest:g} mm\u00b3 or more" if self.smallest else ""
        pair = f"IoU {self.iou:g} or more" if self.iou else "any overlap"
        medium, large = (f"{size:g}" for size in self.sizes)
        return (
            f"An instance is a connected component (voxels that share {touch}){least}. Labelled and predicted ones are "
            f"matched one to one where they have {pair}, so that the sum of IoU is largest. Small: below {medium} "
            f"mm\u00b3, large: {large} mm\u00b3 or more."
        )


def _by_classes(content: Any) -> Any:
    """Settings of a plan that lists classes alone."""
    return {"classes": content} if isinstance(content, list) else content


AnyInstances = Annotated[Instances, BeforeValidator(_by_classes)]


class _Components(NamedTuple):
    """Instances of one volume: their map (*spatial), voxels of each, and which size each is."""

    map: NDArray[Any]
    voxels: NDArray[Any]
    sizes: NDArray[Any]


def instance_scores(
    found: NDArray[Any], truth: NDArray[Any], *, spacing: Sequence[float], settings: Instances
) -> Metrics:
    """Count the instances of one structure.

    Args:
        found: bool (*spatial), predicted.
        truth: bool (*spatial), labelled.
        spacing: voxel size in mm.
        settings: what an instance and a pair is.

    Returns:
        `instances` (labelled), `instances_predicted`, `instances_missed`, `instances_invented`, the same by size (of
        the labelled, or of the predicted instance) with `_small`, `_medium` and `_large`; `instance_recall`, None if
        none is labelled but some are predicted; `instance_precision`, None if none is predicted but some are labelled;
        `instance_f1` (RQ); `instance_sq`, None without a pair; `instance_pq`. Where there are none at all, recall,
        precision, F1 and PQ are 1.
    """
    real, painted = (_components(volume, spacing, settings) for volume in (truth, found))
    iou, (ours, theirs) = _paired(real, painted, settings.iou)
    n, m, quality = len(real.voxels), len(painted.voxels), float(iou.mean()) if len(iou) else None
    f1 = 2 * len(iou) / (n + m) if n + m else 1.0
    return {
        **_by_size("instances", real.sizes),
        **_by_size("instances_missed", np.delete(real.sizes, ours)),
        **_by_size("instances_predicted", painted.sizes),
        **_by_size("instances_invented", np.delete(painted.sizes, theirs)),
        "instance_recall": share(len(iou), n, m),
        "instance_precision": share(len(iou), m, n),
        "instance_f1": f1,
        "instance_sq": quality,
        "instance_pq": f1 if quality is None else f1 * quality,
    }


def _by_size(name: str, sizes: NDArray[Any]) -> Metrics:
    """How many there are, in all and of each size."""
    numbers = np.bincount(sizes, minlength=len(SIZES))
    found: Metrics = {name: float(len(sizes))}
    return found | {f"{name}_{size}": float(n) for size, n in zip(SIZES, numbers, strict=True)}


def _components(mask: NDArray[Any], spacing: Sequence[float], settings: Instances) -> _Components:
    """Connected components that are large enough."""
    reach = 1 if settings.connectivity == "faces" else mask.ndim
    every, number = label(mask, generate_binary_structure(mask.ndim, reach))
    voxels, voxel = np.bincount(every.ravel(), minlength=number + 1), math.prod(spacing) * _ROUNDING
    kept = voxels * voxel >= settings.smallest
    kept[0] = False
    numbers = np.where(kept, np.cumsum(kept), 0)
    return _Components(numbers[every], voxels[kept], np.digitize(voxels[kept] * voxel, settings.sizes))


def _paired(real: _Components, painted: _Components, least: float) -> tuple[NDArray[Any], tuple[NDArray[Any], ...]]:
    """IoU of each pair, and the places of the paired instances among the labelled and among the predicted ones."""
    both = (real.map > 0) & (painted.map > 0)
    codes, overlap = np.unique((real.map[both] - 1) * len(painted.voxels) + painted.map[both] - 1, return_counts=True)
    rows, columns = np.divmod(codes, max(len(painted.voxels), 1))
    iou = overlap / (real.voxels[rows] + painted.voxels[columns] - overlap)
    rows, columns, iou = rows[iou >= least], columns[iou >= least], iou[iou >= least]
    (ours, row), (theirs, column) = (np.unique(side, return_inverse=True) for side in (rows, columns))
    values = np.zeros((len(ours), len(theirs)))
    values[row, column] = iou
    chosen = linear_sum_assignment(values + _TIE * (values > 0), maximize=True)
    held = values[chosen] > 0
    return values[chosen][held], (ours[chosen[0][held]], theirs[chosen[1][held]])
