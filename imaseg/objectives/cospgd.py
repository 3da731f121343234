"""CosPGD's loss: cross-entropy, each voxel weighted by how well the prediction agrees with the label."""

from __future__ import annotations

import torch
from torch import Tensor

from imaseg.objectives.base import Objective
from imaseg.objectives.decisions import decision_ce, decision_mean
from imaseg.scores import Target


class CosPGDLoss(Objective):
    """Mean over valid voxels of cos(p, onehot(label)) * -log p(label), p = softmax; the cosine has no gradient.

    Regions: a channel's p is (1 - s, s) with s = sigmoid(z), its cosine weighs its binary cross-entropy. Agnihotri,
    Jung & Keuper, "CosPGD: an efficient white-box adversarial attack for pixel-wise prediction tasks", ICML 2024.

    >>> import torch
    >>> CosPGDLoss()(torch.zeros(1, 4, 1), torch.tensor([[0]]))  # cos = 1/2, cross-entropy = log(4)
    tensor([0.6931])
    """

    name = "cospgd"
    title = "CosPGD's loss"
    reference = (
        "Agnihotri S, Jung S, Keuper M. CosPGD: an efficient white-box adversarial attack for pixel-wise "
        "prediction tasks. ICML 2024. arXiv:2302.02213."
    )
    cited = "Agnihotri et al. 2024"

    def _loss(self, logits: Tensor, target: Target, progress: float) -> Tensor:
        return decision_mean(decision_ce(logits, target) * _cosine(logits.detach(), target), target)


def _cosine(logits: Tensor, target: Target) -> Tensor:
    """cos(p, onehot(label)) = p_label / ||p||_2 of each decision (B, C, N)."""
    if target.regions:
        label = torch.where(target.onehot, logits, -logits).sigmoid()
        return label / torch.hypot(label, 1 - label)
    probability = logits.softmax(1)
    label = (probability * target.onehot).sum(1, keepdim=True)
    return label / probability.square().sum(1, keepdim=True).sqrt()
