"""Cross-entropy, mean over voxels; binary cross-entropy per region for sigmoid models."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from imaseg.objectives.base import Objective, voxel_mean
from imaseg.scores import Target


class CrossEntropy(Objective):
    """Mean over valid voxels of -log p(label).

    >>> import torch
    >>> CrossEntropy()(torch.zeros(1, 4, 2, 2), torch.zeros(1, 2, 2, dtype=torch.long))
    tensor([1.3863])
    """

    def _loss(self, logits: Tensor, target: Target, progress: float) -> Tensor:
        return voxel_mean(voxel_cross_entropy(logits, target), target)


def voxel_cross_entropy(logits: Tensor, target: Target) -> Tensor:
    """Cross-entropy (B, N) of each voxel; for regions the mean over channels."""
    onehot = target.onehot.to(logits.dtype)
    if target.regions:
        return binary_cross_entropy_with_logits(logits, onehot, reduction="none").mean(1)
    return -(logits.log_softmax(1) * onehot).sum(1)
