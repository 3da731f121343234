"""Compares a first-order map of voxel margins with a reference map made by attacks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from imaseg.margins.voxel import VoxelMarginResult


@dataclass(frozen=True)
class MarginError:
    """Agreement of an estimate with a reference, over voxels that are correct and uncensored in the reference.

    Attributes:
        ratio: (B,) median of estimate / reference; censored estimates count as eps. NaN where no voxel counts.
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


def margin_error(estimate: VoxelMarginResult, reference: VoxelMarginResult) -> MarginError:
    """Compare a first-order estimate with the attack-based map of the same batch and set.

    Args:
        estimate: result of method "gradient" (or of an attack with less effort).
        reference: result of method "attack".

    Raises:
        ValueError: if the maps differ in shape.

    >>> right, never = torch.tensor([[True, True, True, False]]), torch.zeros(1, 4, dtype=torch.bool)
    >>> first = VoxelMarginResult(torch.tensor([[1.0, 2.0, 3.0, 0.0]]), never, right, "gradient", 1, 0)
    >>> reference = VoxelMarginResult(torch.tensor([[2.0, 4.0, 8.0, 0.0]]), never, right, "attack", 1, 1)
    >>> error = margin_error(first, reference)
    >>> error.ratio, error.spearman, error.voxels
    (tensor([0.5000]), tensor([1.]), tensor([3]))
    """
    if estimate.margin.shape != reference.margin.shape:
        shapes = f"{tuple(estimate.margin.shape)} and {tuple(reference.margin.shape)}"
        msg = f"estimate and reference must have the same shape, got {shapes}. Use maps of the same batch."
        raise ValueError(msg)
    judged = reference.right & ~reference.censored
    pairs = zip(estimate.margin, reference.margin, judged, strict=True)
    rows = [_error(first[mask], second[mask]) for first, second, mask in pairs]
    return MarginError(*(torch.stack(column) for column in zip(*rows, strict=True)))


def _error(estimate: Tensor, reference: Tensor) -> tuple[Tensor, ...]:
    number = torch.tensor(len(reference), device=reference.device)
    if not len(reference):
        undefined = reference.new_full((), torch.nan)
        return undefined, undefined, undefined, undefined, number
    ordered = (estimate / reference).sort().values
    ranks = [round(share * (len(ordered) - 1)) for share in (0.5, 0.05, 0.95)]
    return *(ordered[rank] for rank in ranks), _correlation(_ranks(estimate), _ranks(reference)), number


def _ranks(values: Tensor) -> Tensor:
    """Ranks from 1, the mean rank for equal values."""
    _, inverse, counts = torch.unique(values, return_inverse=True, return_counts=True)
    ranks: Tensor = counts.cumsum(0) - (counts - 1) / 2
    return ranks[inverse].double()


def _correlation(first: Tensor, second: Tensor) -> Tensor:
    first, second = first - first.mean(), second - second.mean()
    return ((first * second).sum() / (first.square().sum() * second.square().sum()).sqrt()).float()
