"""Spherical loss of the voxels that are still correct: depends on the direction of the logits, not their length."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from imaseg.objectives.base import Objective
from imaseg.objectives.decisions import decided_right, decision_margin, decision_mean
from imaseg.objectives.sea import CITED_V1, SEA_V1
from imaseg.scores import Target

_SHORTEST = 1e-6


class MaskedSpherical(Objective):
    """Mean over all valid voxels of c * (-z_label / ||z||_2), c = 1 where the decision is right, without gradient.

    Logits shorter than 1e-6 have no direction and count 0. Not blind to a shift of all logits, and blind to the
    length of opposite ones (z, -z). For regions both (z, -z) and (z, 0) would leave a constant, so there the
    spherical score is taken of the probabilities (1 - s, s), s = sigmoid(z): c * (-p_label / ||p||_2). Croce, Singh &
    Hein, "Robust semantic segmentation: strong adversarial attacks and fast training of robust models", 2023 (arXiv
    2306.12941, version 1).

    >>> import torch
    >>> MaskedSpherical()(torch.tensor([[[4.0, 0.0], [3.0, 1.0]]]), torch.tensor([[0, 0]]))  # 4/5 right, then wrong
    tensor([-0.4000])
    """

    title = "spherical loss of voxels still right"
    reference = SEA_V1
    cited = CITED_V1

    def _loss(self, logits: Tensor, target: Target, progress: float) -> Tensor:
        score = _of_probabilities(logits, target) if target.regions else _of_logits(logits, target)
        return decision_mean(-score * decided_right(logits, target), target)


def _of_logits(logits: Tensor, target: Target) -> Tensor:
    square = logits.square().sum(1, keepdim=True)
    label = (logits * target.truth(logits.dtype)).sum(1, keepdim=True)
    # Clamped below the root, whose slope at 0 is infinite.
    score = label / square.clamp(min=_SHORTEST**2).sqrt()
    return torch.where(square > _SHORTEST**2, score, 0.0)


def _of_probabilities(logits: Tensor, target: Target) -> Tensor:
    """Score p / sqrt(p^2 + (1 - p)^2) = sqrt(sigmoid(2 z)) for p = sigmoid(z), z the logit for the label."""
    return (logsigmoid(-2 * decision_margin(logits, target)) / 2).exp()
