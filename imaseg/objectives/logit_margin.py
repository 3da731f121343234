"""Logit margin: linear, so its gradient stays where softmax saturates; capped, so that flipped voxels have none."""

from __future__ import annotations

from torch import Tensor

from imaseg.objectives.base import Objective
from imaseg.objectives.decisions import decision_margin, decision_mean
from imaseg.scores import Target


class LogitMargin(Objective):
    """Mean over valid voxels of min(m, cap), m = max_{j != label} z_j - z_label.

    Serves where DLR (Croce & Hein, ICML 2020) needs a third logit. Regions: m = -(2y - 1) z, channel by channel.

    Args:
        cap: how far beyond the boundary a voxel still has a gradient, in logits, >= 0; None for any distance.
        balanced: mean over the classes in the label of each class's own mean, instead of over all voxels; for regions
            the two classes of a channel are "in" and "out".
        ignore_index: label value whose voxels carry no loss.

    Raises:
        ValueError: if cap is negative.

    >>> import torch
    >>> logits, label = torch.tensor([[[3.0, 0.0, 0.0], [1.0, 2.0, 9.0]]]), torch.tensor([[0, 0, 1]])
    >>> LogitMargin()(logits, label), LogitMargin(cap=None, balanced=False)(logits, label)
    (tensor([-4.8750]), tensor([-3.]))
    """

    title = "logit margin"

    def __init__(self, *, cap: float | None = 0.5, balanced: bool = True, ignore_index: int | None = None) -> None:
        super().__init__(ignore_index=ignore_index)
        if cap is not None and not cap >= 0:
            msg = f"cap must be >= 0 (logits) or None, got {cap}. Use 0.5."
            raise ValueError(msg)
        self.cap = cap
        self.balanced = balanced

    def _loss(self, logits: Tensor, target: Target, progress: float) -> Tensor:
        margin = decision_margin(logits, target)
        if self.cap is not None:
            margin = margin.clamp(max=self.cap)
        return decision_mean(margin, target, balanced=self.balanced)
