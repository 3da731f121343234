"""Jensen-Shannon divergence between prediction and label: bounded, so that the gradient of flipped voxels vanishes."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from imaseg.objectives.base import Objective
from imaseg.objectives.decisions import decision_ce, decision_mean
from imaseg.objectives.sea import CITED, SEA
from imaseg.scores import Target


class JensenShannon(Objective):
    """Mean over valid voxels of JS(p, onehot(label)) = [KL(p, m) + KL(onehot, m)] / 2, m their mean, in nats.

    For a one-hot label only p = p(label) matters: JS = log 2 + [p log p - (1 + p) log(1 + p)] / 2, between 0 and
    log 2. Regions: mean over channels, of the two-point distributions. Croce, Singh & Hein, "Towards reliable
    evaluation and fast training of robust semantic segmentation models", ECCV 2024 (arXiv 2306.12941).

    >>> import torch
    >>> JensenShannon()(torch.tensor([[[0.0], [0.0]], [[-99.0], [99.0]]]), torch.tensor([[0], [0]]))
    tensor([0.2158, 0.6931])
    """

    title = "Jensen-Shannon divergence"
    reference = SEA
    cited = CITED

    def _loss(self, logits: Tensor, target: Target, progress: float) -> Tensor:
        ce = decision_ce(logits, target)
        right, wrong = (-ce).exp(), -torch.expm1(-ce)
        # The closed form in wrong = 1 - p: nothing cancels where the model is sure and right.
        divergence = wrong * math.log(2) - right * ce - (2 - wrong) * torch.log1p(-wrong / 2)
        return decision_mean(divergence / 2, target)
