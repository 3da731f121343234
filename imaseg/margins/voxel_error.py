"""How far a first-order voxel map is from the map that attacks found."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from imaseg.margins.voxel import VoxelMarginResult


@dataclass(frozen=True)
class MarginError:
    """Agreement of an estimate with what was found, over voxels that are right and uncensored there.

    Attributes:
        ratio: (B,) median of estimate / found; censored estimates count as eps. NaN where no voxel counts.
        low: (B,) 5 % quantile of the ratio.
        high: (B,) 95 % quantile.
        spearman: (B,) rank correlation; NaN where either map is constant.
        voxels: (B,) how many count.
    """

    ratio: Tensor
    low: Tensor
    high: Tensor
    spearman: Tensor
    voxels: Tensor


def margin_error(estimate: VoxelMarginResult, found: VoxelMarginResult) -> MarginError:
    """Error of the first-order estimate against the attack-based map of the same batch and set.

    Args:
        estimate: of method "gradient" (or of an attack with less effort).
        found: of method "attack".

    Raises:
        ValueError: if the maps differ in shape.

    >>> right, never = torch.tensor([[True, True, True, False]]), torch.zeros(1, 4, dtype=torch.bool)
    >>> first = VoxelMarginResult(torch.tensor([[1.0, 2.0, 3.0, 0.0]]), never, right, "gradient", 1, 0)
    >>> found = VoxelMarginResult(torch.tensor([[2.0, 4.0, 8.0, 0.0]]), never, right, "attack", 1, 1)
    >>> error = margin_error(first, found)
    >>> error.ratio, error.spearman, error.voxels
    (tensor([0.5000]), tensor([1.]), tensor([3]))
    """
    if estimate.margin.shape != found.margin.shape:
        shapes = f"{tuple(estimate.margin.shape)} and {tuple(found.margin.shape)}"
        msg = f"estimate and found must have the same shape, got {shapes}. Use maps of the same batch."
        raise ValueError(msg)
    judged = found.right & ~found.censored
    pairs = zip(estimate.margin, found.margin, judged, strict=True)
    rows = [_error(first[here], second[here]) for first, second, here in pairs]
    return MarginError(*(torch.stack(column) for column in zip(*rows, strict=True)))


def _error(estimate: Tensor, found: Tensor) -> tuple[Tensor, ...]:
    number = torch.tensor(len(found), device=found.device)
    if not len(found):
        nothing = found.new_full((), torch.nan)
        return nothing, nothing, nothing, nothing, number
    ordered = (estimate / found).sort().values
    places = [round(share * (len(ordered) - 1)) for share in (0.5, 0.05, 0.95)]
    return *(ordered[place] for place in places), _correlation(_ranks(estimate), _ranks(found)), number


def _ranks(values: Tensor) -> Tensor:
    """Ranks from 1, the mean rank for equal values."""
    _, place, counts = torch.unique(values, return_inverse=True, return_counts=True)
    ranks: Tensor = counts.cumsum(0) - (counts - 1) / 2
    return ranks[place].double()


def _correlation(first: Tensor, second: Tensor) -> Tensor:
    first, second = first - first.mean(), second - second.mean()
    return ((first * second).sum() / (first.square().sum() * second.square().sum()).sqrt()).float()
