"""Soft Dice loss, mean over the foreground classes that the label holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor

from imaseg.objectives.base import Objective
from imaseg.scores import Target


class Dice(Objective):
    """1 - (2 sum p y + s) / (sum p + sum y + s), mean over the classes that the label holds, with s = `smooth` voxels.

    Classes that the label lacks count only where it holds none of those asked for: with s = 1 they give 0 for an empty
    prediction and lead an attack to paint them in. In a mean with others they would lead it to one voxel of each.
    Milletari et al. 2016 without the squares.

    Args:
        smooth: s, in voxels, > 0.
        classes: channels of the logits over which the mean is taken; None for all of the foreground.
        absent: "ignore" as above; "count" takes the mean over all classes, whether the label holds them or not.
        ignore_index: label value whose voxels carry no loss.

    Raises:
        ValueError: if smooth is not positive, or absent is another word.
    """

    title = "soft Dice"

    def __init__(
        self,
        *,
        smooth: float = 1.0,
        classes: Sequence[int] | None = None,
        absent: Literal["ignore", "count"] = "ignore",
        ignore_index: int | None = None,
    ) -> None:
        super().__init__(ignore_index=ignore_index)
        if not smooth > 0:
            msg = f"smooth must be > 0 (voxels), got {smooth}. Use 1.0."
            raise ValueError(msg)
        if absent not in ("ignore", "count"):
            msg = f"absent must be 'ignore' or 'count', got {absent!r}."
            raise ValueError(msg)
        self.smooth, self.absent = smooth, absent
        self.classes = None if classes is None else tuple(classes)

    def _loss(self, logits: Tensor, target: Target, progress: float) -> Tensor:
        probability = logits.sigmoid() if target.regions else logits.softmax(1)
        channels = target.channels(self.classes)
        probability = target.counted(probability)[:, channels]
        truth = target.truth(logits.dtype)[:, channels]
        overlap = (probability * truth).sum(2)
        total = probability.sum(2) + truth.sum(2)
        dice = (2 * overlap + self.smooth) / (total + self.smooth)
        if self.absent == "count":
            return 1 - dice.mean(1)
        held = target.held(self.classes)
        return 1 - (dice * held).sum(1) / held.sum(1)
