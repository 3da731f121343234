"""Exact binomial tests of many voxels at once, from counts of votes."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def log_tails(samples: int, tau: float) -> Tensor:
    """Logarithm of P[X >= k] for X ~ Binomial(samples, tau) and k = 0 ... samples + 1, float64.

    At k votes this is the p-value of the exact one-sided test of "the share is at most tau".

    >>> log_tails(2, 0.75).exp()
    tensor([1.0000, 0.9375, 0.5625, 0.0000], dtype=torch.float64)
    """
    k = torch.arange(samples + 1, dtype=torch.float64)
    n = torch.tensor(samples, dtype=torch.float64)
    ways = torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)
    exactly = ways + k * math.log(tau) + (n - k) * math.log1p(-tau)
    impossible = torch.tensor([-math.inf], dtype=torch.float64)
    return torch.cat([exactly.flip(0).logcumsumexp(0).flip(0).clamp(max=0.0), impossible])


def least_votes(votes: Tensor, tails: Tensor, *, alpha: float, holm: bool) -> Tensor:
    """Smallest number of votes that shows a voxel's vote share to exceed tau, for all voxels of an image at once.

    Bonferroni tests each voxel at alpha / N. Holm's N is the number of voxels not certified yet, counted again until it
    stays; equal votes are equal p-values, so that no sorting is needed.

    Args:
        votes: (N,) integer, of each voxel.
        tails: (T, samples + 2) of `log_tails`, for T rising values of tau.
        alpha: family-wise error rate.
        holm: Holm's correction instead of Bonferroni's.

    Returns:
        (T,) int64; samples + 1 where no number suffices.
    """
    family = len(votes)
    while True:
        least = (tails > math.log(alpha / family)).sum(1)
        left = int((votes < int(least[-1])).sum())
        if not holm or left in (0, family):
            return least
        family = left
