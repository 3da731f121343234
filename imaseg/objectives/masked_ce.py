"""Cross-entropy of the voxels that are still correct, so that an attack spends no budget on those already flipped."""

from __future__ import annotations

from torch import Tensor

from imaseg.objectives.base import Objective
from imaseg.objectives.decisions import decided_right, decision_ce, decision_mean
from imaseg.objectives.sea import CITED, SEA
from imaseg.scores import Target


class MaskedCE(Objective):
    """Mean over all valid voxels of c * -log p(label), c = 1 where the decision is right, without gradient.

    A voxel that flips loses its term. Regions: binary cross-entropy, channel by channel right or wrong.
    Croce, Singh & Hein, "Towards reliable evaluation and fast training of robust semantic segmentation models",
    ECCV 2024 (arXiv 2306.12941).

    >>> import torch
    >>> logits = torch.tensor([[[0.0, 0.0], [-1.0, 1.0]]])
    >>> MaskedCE()(logits, torch.tensor([[0, 0]]))  # 0.3133 of the first voxel, nothing of the second
    tensor([0.1566])
    """

    title = "cross-entropy of voxels still right"
    reference = SEA
    cited = CITED

    def _loss(self, logits: Tensor, target: Target, progress: float) -> Tensor:
        return decision_mean(decision_ce(logits, target) * decided_right(logits, target), target)
