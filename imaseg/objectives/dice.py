"""Soft Dice loss, mean over the foreground classes or those asked for."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from imaseg.objectives.base import Objective
from imaseg.scores import Target


class Dice(Objective):
    """1 - (2 sum p y + s) / (sum p + sum y + s), mean over foreground classes, with s = `smooth` voxels.

    With s = 1 an empty structure gives 0 for an empty prediction and still has a gradient that leads an attack
    to paint it in. Milletari et al. 2016 without the squares.

    Args:
        smooth: s, in voxels, > 0.
        classes: channels of the logits over which the mean is taken; None for all of the foreground.
        ignore_index: label value whose voxels carry no loss.

    Raises:
        ValueError: if smooth is not positive.
    """

    title = "soft Dice"

    def __init__(
        self, *, smooth: float = 1.0, classes: Sequence[int] | None = None, ignore_index: int | None = None
    ) -> None:
        super().__init__(ignore_index=ignore_index)
        if not smooth > 0:
            msg = f"smooth must be > 0 (voxels), got {smooth}. Use 1.0."
            raise ValueError(msg)
        self.smooth = smooth
        self.classes = None if classes is None else tuple(classes)

    def _loss(self, logits: Tensor, target: Target, progress: float) -> Tensor:
        probability = logits.sigmoid() if target.regions else logits.softmax(1)
        channels = target.channels(self.classes)
        probability = target.counted(probability)[:, channels]
        truth = target.truth(logits.dtype)[:, channels]
        overlap = (probability * truth).sum(2)
        total = probability.sum(2) + truth.sum(2)
        return 1 - ((2 * overlap + self.smooth) / (total + self.smooth)).mean(1)
