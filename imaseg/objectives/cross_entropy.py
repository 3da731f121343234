"""Cross-entropy, mean over voxels; binary cross-entropy per region for sigmoid models."""

from __future__ import annotations

from torch import Tensor

from imaseg.objectives.base import Objective
from imaseg.objectives.decisions import decision_ce, decision_mean
from imaseg.scores import Target


class CrossEntropy(Objective):
    """Mean over valid voxels of -log p(label).

    >>> import torch
    >>> CrossEntropy()(torch.zeros(1, 4, 2, 2), torch.zeros(1, 2, 2, dtype=torch.long))
    tensor([1.3863])
    """

    title = "cross-entropy"

    def _loss(self, logits: Tensor, target: Target, progress: float) -> Tensor:
        return decision_mean(decision_ce(logits, target), target)
