"""Survey of one raw case: whether it can be used, and its figures for the statistics of the cohort."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from imaseg.data.cases import Case
from imaseg.data.cohort.hounsfield import looks_like_hounsfield
from imaseg.data.cohort.thumbnail import draw_thumbnail
from imaseg.data.formats.checks import check_image, check_label, class_numbers, header_flags, label_flags
from imaseg.data.formats.scan import Scan
from imaseg.data.orient import orient
from imaseg.data.reading import read_images, read_label, to_volume
from imaseg.data.relabel import relabel
from imaseg.data.volume import Volume
from imaseg.errors import InputError, OutputError

_SAMPLE = 2000
_SLABS = 16
"""Slabs that are hashed at a time: float32 neighbours of one line of the cache."""
_PLENTY = 1 << 22
"""Images with more voxels are subsampled to about this many to compare a label with its mirror images."""


@dataclass(frozen=True)
class Survey:
    """Findings on a case, small enough to keep on disk.

    Attributes:
        reasons: why the case cannot be used; empty if it can, and then the rest is filled in.
        flags: what is unusual about its headers.
        spacing: mm, axes as in RAS, like `shape`.
        shape: voxels.
        channels: number of channels.
        class_volume_ml: volume per label above 0.
        sample: per channel, up to 2000 grey values from labelled voxels (from all if none is labelled).
        spread: how far grey values spread inside the label: as it is, mirrored along x, y, z.
        hounsfield: whether the grey values of the only channel look like HU.
        image_sha256: of the voxels in RAS, so that a copy with other axes is still a copy.
        label_sha256: of the label in RAS.
    """

    reasons: list[str] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)
    spacing: list[float] = field(default_factory=list)
    shape: list[int] = field(default_factory=list)
    channels: int = 0
    class_volume_ml: dict[str, float] = field(default_factory=dict)
    sample: list[list[float]] = field(default_factory=list)
    spread: list[float] = field(default_factory=list)
    hounsfield: bool = False
    image_sha256: str = ""
    label_sha256: str = ""

    def to_json(self) -> dict[str, Any]:
        """Content for a note on disk."""
        return asdict(self)


def survey_case(
    case: Case,
    labels: Mapping[int, str] | None,
    *,
    mapping: Mapping[int, int] | None = None,
    threshold: float | None = None,
    thumbnail: Path | None = None,
) -> Survey:
    """Read and check a case; whatever is wrong with it is listed in `reasons` of the result, not raised.

    Args:
        case: case to survey.
        labels: values that its label file may hold; None for any.
        mapping: new label values by old ones, for the class volumes.
        threshold: label values from here on are 1, all others 0.
        thumbnail: PNG to write if the case cannot be used but its image can be read.
    """
    try:
        volume, reasons, flags = inspect_case(case, labels, mapping=mapping, threshold=threshold, thumbnail=thumbnail)
    except OutputError:
        raise
    except InputError as error:
        return Survey(reasons=[str(error)])
    if volume is None:
        return Survey(reasons=reasons, flags=flags)
    if mapping:
        volume, _ = relabel(volume, mapping)
    volume, _ = orient(volume, "RAS")
    label = volume.label
    ml = abs(float(np.linalg.det(volume.affine[:3, :3]))) / 1000
    counts = zip(*np.unique(label, return_counts=True), strict=True) if label is not None else ()
    return Survey(
        flags=flags,
        spacing=[round(size, 6) for size in volume.spacing],
        shape=list(volume.shape),
        channels=len(volume.image),
        class_volume_ml={str(int(k)): round(int(n) * ml, 6) for k, n in counts if k > 0},
        sample=_sample(volume),
        spread=[] if label is None else [round(v, 6) for v in _spread(volume.image[0], label)],
        hounsfield=len(volume.image) == 1 and looks_like_hounsfield(volume.image[0]),
        image_sha256=_sha256(volume.image),
        label_sha256="" if label is None else _sha256(label, np.int64),
    )


def inspect_case(
    case: Case,
    labels: Mapping[int, str] | None,
    *,
    mapping: Mapping[int, int] | None = None,
    threshold: float | None = None,
    thumbnail: Path | None = None,
) -> tuple[Volume | None, list[str], list[str]]:
    """Check a case: its volume if it can be used, else None; reasons why it cannot; flags.

    Raises:
        InputError: if a file cannot be read at all.
    """
    images = read_images(case)
    flags = [flag for scan in images for flag in header_flags(scan)]
    reasons = check_image(images)
    label = None
    try:
        label = read_label(case, images[0], threshold=threshold)
    except InputError as error:
        reasons.append(str(error))
    if label is not None:
        wrong = check_label(label, images[0], labels)
        reasons += wrong or (class_numbers(label, mapping) if labels is None and threshold is None else [])
        flags += [*header_flags(label), *label_flags(label, images[0])]
    if not reasons:
        return to_volume(case.id, images, label, compact=True), [], flags
    if thumbnail is not None:
        _draw_unfit(case.id, images[0], label, thumbnail)
    return None, reasons, flags


def _draw_unfit(name: str, image: Scan, label: Scan | None, thumbnail: Path) -> None:
    """Draw the first channel of an unusable case, with its label if that has the same shape."""
    if np.linalg.matrix_rank(image.affine[:3, :3]) < 3 or not np.isfinite(image.affine).all():
        image = replace(image, affine=np.eye(4))
    grey = image.data[..., 0] if image.data.ndim == 4 else image.data
    shown = None
    if label is not None and label.data.shape == grey.shape:
        shown = np.rint(np.nan_to_num(label.data.astype(np.float64))).clip(0, 255).astype(np.int64)
    draw_thumbnail(Volume(name, grey[None].astype(np.float32), shown, image.affine), thumbnail)


def _sample(volume: Volume) -> list[list[float]]:
    """Per channel, up to 2000 grey values at evenly spaced labelled voxels (all voxels if none is labelled)."""
    labelled = np.flatnonzero(volume.label) if volume.label is not None else np.zeros(0, int)
    total = labelled.size or volume.image[0].size
    at = np.linspace(0, total - 1, min(total, _SAMPLE)).astype(int)
    voxels = np.unravel_index(labelled[at] if labelled.size else at, volume.shape)
    return [[float(value) for value in channel[voxels]] for channel in volume.image]


def _spread(image: NDArray[np.float32], label: NDArray[np.int64]) -> list[float]:
    """Pooled standard deviation inside the structures, as a share of the image's 1 to 99 percentile range.

    First for the label as it is, then for the label mirrored along each axis; empty without a label.
    """
    apart = max(1, round((image.size / _PLENTY) ** (1 / 3)))
    image, label = image[::apart, ::apart, ::apart], label[::apart, ::apart, ::apart]
    low, high = np.percentile(image, [1, 99])
    if not high > low or not label.any():
        return []
    mirrored = [label, *(np.flip(label, axis) for axis in range(3))]
    return [_pooled_std(image, each, low, high) for each in mirrored]


def _pooled_std(image: NDArray[np.float32], label: NDArray[np.int64], low: np.floating, high: np.floating) -> float:
    """Of the labelled voxels, with grey values from `low` to `high` taken to 0 to 1."""
    inside = label > 0
    values = np.clip((image[inside] - low) / (high - low), 0, 1).astype(np.float64)
    _, classes = np.unique(label[inside], return_inverse=True)  # one pass, however many classes there are
    apart = values - (np.bincount(classes, values) / np.bincount(classes))[classes]
    return float(np.sqrt(apart @ apart / len(values)))


def _sha256(array: NDArray[np.generic], dtype: DTypeLike | None = None) -> str:
    """Hash of shape and voxels, converted to `dtype` some slabs at a time to save memory."""
    digest = hashlib.sha256(str(array.shape).encode())
    slabs = array.reshape(-1, *array.shape[-2:])
    for i in range(0, len(slabs), _SLABS):
        digest.update(np.ascontiguousarray(slabs[i : i + _SLABS], dtype).data)
    return digest.hexdigest()
