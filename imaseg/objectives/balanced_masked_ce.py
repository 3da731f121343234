"""Masked cross-entropy in which a small structure counts as much as the background."""

from __future__ import annotations

from torch import Tensor

from imaseg.objectives.base import Objective
from imaseg.objectives.decisions import decided_right, decision_ce, decision_mean
from imaseg.objectives.sea import CITED, SEA
from imaseg.scores import Target


class BalancedMaskedCE(Objective):
    """Mean over the classes in the label of (sum over the class's voxels of c * -log p(label)) / (its voxels).

    c as in `MaskedCE`. Croce, Singh & Hein, ECCV 2024 (arXiv 2306.12941), who count the voxels of a class over the
    data set; here over the sample, which keeps samples apart. Regions: the two classes of a channel are "in" and
    "out", channels count alike.

    >>> import torch
    >>> BalancedMaskedCE()(torch.zeros(1, 2, 4), torch.tensor([[0, 0, 0, 1]]))  # log(2) of class 0, 0 of class 1
    tensor([0.3466])
    """

    title = "class-balanced cross-entropy of voxels still right"
    reference = SEA
    cited = CITED

    def _loss(self, logits: Tensor, target: Target, progress: float) -> Tensor:
        return decision_mean(decision_ce(logits, target) * decided_right(logits, target), target, balanced=True)
