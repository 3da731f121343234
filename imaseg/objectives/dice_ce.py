"""Soft Dice plus cross-entropy: the loss most segmenters are trained with."""

from __future__ import annotations

from torch import Tensor

from imaseg.objectives.base import Objective
from imaseg.objectives.cross_entropy import CrossEntropy
from imaseg.objectives.dice import Dice
from imaseg.scores import Target


class DiceCE(Objective):
    """Sum of `Dice` and `CrossEntropy`, equal weights, as in nnU-Net (Isensee et al. 2021)."""

    title = "soft Dice and cross-entropy"

    def __init__(self, *, ignore_index: int | None = None) -> None:
        super().__init__(ignore_index=ignore_index)
        self._parts = (Dice(), CrossEntropy())

    def _loss(self, logits: Tensor, target: Target, progress: float) -> Tensor:
        first, second = (part.of(logits, target, progress) for part in self._parts)
        return first + second
