"""Summarises maps of voxel margins by structure and by distance to the structure's boundary."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from imaseg.margins.voxel import VoxelMarginResult

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class VoxelSummary:
    """Distribution of the margins of some voxels of a sample.

    Attributes:
        label: value of the structure.
        low, high: the distance to its boundary in mm that they have, [low, high); infinite ends where all have it.
        labelled: how many voxels there are, right or not.
        voxels: how many of them are right on the clean image; the numbers below are about these.
        censored: share that no perturbation within eps flips; NaN without voxels.
        quantiles: margins that 5, 25, 50, 75 and 95 % of the voxels do not exceed (`QUANTILES`), at least eps where
            the voxel there is censored; NaN without voxels.
    """

    label: int
    low: float
    high: float
    labelled: int
    voxels: int
    censored: float
    quantiles: tuple[float, ...]


def summarise_structures(result: VoxelMarginResult, label: Tensor) -> list[list[VoxelSummary]]:
    """Summarise the margins of each structure.

    Args:
        result: maps (B, *spatial).
        label: integer (B, *spatial) or (B, 1, *spatial), whose negative values are left out; for region-based models
            boolean (B, K, *spatial), whose channels are the structures 0 to K - 1.

    Returns:
        For each sample one summary per label value that occurs in it.

    Raises:
        ValueError: if label does not fit the maps.

    >>> right = torch.ones(1, 4, dtype=torch.bool)
    >>> result = VoxelMarginResult(torch.tensor([[1.0, 2.0, 3.0, 3.0]]), ~right, right, "attack", 1, 1)
    >>> rows = summarise_structures(result, torch.tensor([[0, 1, 1, 1]]))[0]
    >>> [(row.label, row.voxels, row.quantiles[2]) for row in rows]
    [(0, 1, 1.0), (1, 3, 3.0)]
    """
    return summarise_depths(result, label, torch.zeros_like(label, dtype=torch.float32), (-math.inf,))


def summarise_depths(
    result: VoxelMarginResult, label: Tensor, distance: Tensor, edges: Sequence[float] = (0, 1, 2, 3, 5, 8)
) -> list[list[VoxelSummary]]:
    """Summarise the margins of each structure by distance to its boundary.

    Args:
        result: maps (B, *spatial).
        label: as in `summarise_structures`.
        distance: of the label's shape, mm from each voxel to the boundary of the structure it belongs to, as a
            Euclidean distance transform of the structure with the case's spacing gives it.
        edges: edges of the bins in mm, in rising order; the last bin reaches from the last edge to infinity.

    Returns:
        For each sample one summary per structure and bin, structures first; empty bins are left out.

    Raises:
        ValueError: if label or distance do not fit the maps, or edges do not rise.
    """
    if not edges or any(low >= high for low, high in pairwise(edges)):
        msg = f"edges must be in rising order (mm), got {list(edges)}. Use 0, 1, 2, 4."
        raise ValueError(msg)
    if label.shape != distance.shape:
        msg = f"distance must have the label's shape {tuple(label.shape)}, got {tuple(distance.shape)}."
        raise ValueError(msg)
    bins = list(pairwise((*edges, math.inf)))
    return [
        [row for value, where, depth in structures for row in _rows(result, sample, value, where, depth, bins)]
        for sample, structures in enumerate(_structures(result, label, distance))
    ]


def _structures(result: VoxelMarginResult, label: Tensor, distance: Tensor) -> list[list[tuple[int, Tensor, Tensor]]]:
    """For each sample the value of each structure, its voxels and their distances, both (N,)."""
    shape, size = result.margin.shape, result.margin[0].numel()
    regions = label.dtype == torch.bool
    fits = label.shape in (shape, (shape[0], 1, *shape[1:])) or (
        regions and (label.shape[0], *label.shape[2:]) == shape
    )
    if not fits:
        msg = (
            f"label must fit the maps {tuple(shape)}, got {tuple(label.shape)}. Use the label the maps were made with."
        )
        raise ValueError(msg)
    labels, distances = (values.reshape(shape[0], -1, size) for values in (label, distance))
    if regions:
        return [
            [(channel, *pair) for channel, pair in enumerate(zip(*sample, strict=True)) if bool(pair[0].any())]
            for sample in zip(labels, distances, strict=True)
        ]
    return [
        [(value, values[0] == value, depth[0]) for value in values.unique().tolist() if value >= 0]
        for values, depth in zip(labels, distances, strict=True)
    ]


def _rows(
    result: VoxelMarginResult,
    sample: int,
    value: int,
    where: Tensor,
    depth: Tensor,
    bins: list[tuple[float, float]],
) -> list[VoxelSummary]:
    rows = []
    for low, high in bins:
        chosen = where & (depth >= low) & (depth < high)
        labelled = int(chosen.sum())
        if labelled:
            chosen &= result.right[sample].flatten()
            margin = result.margin[sample].flatten()[chosen].sort().values
            censored = result.censored[sample].flatten()[chosen].float().mean()
            quantiles = tuple(_quantile(margin, share) for share in QUANTILES)
            rows.append(VoxelSummary(value, low, high, labelled, len(margin), float(censored), quantiles))
    return rows


def _quantile(ordered: Tensor, share: float) -> float:
    """The smallest value that at least that share does not exceed; defined even if the largest are censored."""
    return float(ordered[math.ceil(share * len(ordered)) - 1]) if len(ordered) else math.nan
