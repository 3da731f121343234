"""Cross-entropy, correctness and margin of each decision, (B, C, N): C = 1 for softmax models, C = K for regions.

A channel of a region-based model is a decision of its own, between "in" and "out" with the logits (z, 0); each loss
of a softmax voxel thus has its counterpart there, and one formula serves both.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from imaseg.scores import Target

_FAR = 1e30  # lower than any logit when subtracted; infinity would make 0 * inf of the other channels


def decision_ce(logits: Tensor, target: Target) -> Tensor:
    """Cross-entropy of each decision, -log p(label)."""
    truth = target.truth(logits.dtype)
    if target.regions:
        return binary_cross_entropy_with_logits(logits, truth, reduction="none")
    return -(logits.log_softmax(1) * truth).sum(1, keepdim=True)


def decided_right(logits: Tensor, target: Target) -> Tensor:
    """Which decisions are right, bool and without gradient; arbitrary on ignored voxels."""
    if target.regions:
        return (logits.detach() > 0) == target.onehot
    # Agrees with `scores.decide` on ties too, without its (B, K, N) intermediate.
    return target.onehot.gather(1, logits.detach().max(1, keepdim=True).indices)


def decision_margin(logits: Tensor, target: Target) -> Tensor:
    """How far each decision is on the wrong side, in logits: max_{j != y} z_j - z_y, or -(2y - 1) z for regions."""
    truth = target.truth(logits.dtype)
    if target.regions:
        return (1 - 2 * truth) * logits
    with torch.no_grad():
        others = torch.add(logits, target.onehot.to(logits.dtype), alpha=-_FAR)
        best = (others == others.amax(1, keepdim=True)).to(logits.dtype)
        best /= best.sum(1, keepdim=True)
    # A product with fixed weights: the gradient of a maximum over channels costs three times as much on a CPU.
    return (logits * (best - truth)).sum(1, keepdim=True)


def decision_mean(values: Tensor, target: Target, *, balanced: bool = False) -> Tensor:
    """Mean (B,) of values over valid voxels and C, 0 for a sample without any.

    Args:
        values: (B, C, N).
        target: the label; only its valid voxels count.
        balanced: mean over the classes that the label holds of each class's own mean; for regions the classes of a
            channel are "in" and "out", and channels count alike.
    """
    if balanced:
        return (values * _balanced_weights(target, values.dtype)).sum((1, 2))
    return target.counted(values).sum((1, 2)) / (target.voxels.clamp(min=1) * values.shape[1])


def _balanced_weights(target: Target, dtype: torch.dtype) -> Tensor:
    """Weights (B, C, N) that give the classes present the same total, 1 over all for each sample."""
    inside = target.volumes.unsqueeze(2)
    if target.regions:
        outside = target.valid.sum(2, keepdim=True) - inside
        present = (inside > 0).to(dtype) + (outside > 0).to(dtype)
        weights = target.counted(torch.where(target.onehot, _share(inside, dtype), _share(outside, dtype)))
        return weights / (present.clamp(min=1) * inside.shape[1])
    present = (inside > 0).sum(1, keepdim=True).to(dtype)
    return (_share(inside, dtype) / present.clamp(min=1)).transpose(1, 2) @ target.onehot.to(dtype)


def _share(voxels: Tensor, dtype: torch.dtype) -> Tensor:
    return (voxels > 0).to(dtype) / voxels.clamp(min=1)
