"""SegPGD's loss: correct voxels first, wrong ones with growing weight."""

from __future__ import annotations

import torch
from torch import Tensor

from imaseg.objectives.base import Objective
from imaseg.objectives.decisions import decided_right, decision_ce, decision_mean
from imaseg.scores import Target


class SegPGDLoss(Objective):
    """Mean over valid voxels of [(1 - lam) c + lam (1 - c)] * -log p(label), with lam = progress / 2.

    c = 1 where the decision is right, without gradient. Only right voxels count at the start of a search; at its end
    it is half the cross-entropy. Regions: binary cross-entropy, channel by channel right or wrong. Gu, Zhao, Tresp &
    Torr, "SegPGD: an effective and efficient adversarial attack for evaluating and boosting segmentation robustness",
    ECCV 2022.

    >>> import torch
    >>> logits, label = torch.tensor([[[0.0, 0.0], [-1.0, 1.0]]]), torch.tensor([[0, 0]])
    >>> SegPGDLoss()(logits, label, 0.0), SegPGDLoss()(logits, label, 1.0)
    (tensor([0.1566]), tensor([0.4066]))
    """

    name = "segpgd"
    title = "SegPGD's loss"
    reference = (
        "Gu J, Zhao H, Tresp V, Torr PHS. SegPGD: an effective and efficient adversarial attack for "
        "evaluating and boosting segmentation robustness. ECCV 2022. arXiv:2207.12391."
    )
    cited = "Gu et al. 2022"

    def _loss(self, logits: Tensor, target: Target, progress: float) -> Tensor:
        wrong = progress / 2
        ce = decision_ce(logits, target)
        return decision_mean(ce * torch.where(decided_right(logits, target), 1 - wrong, wrong), target)
