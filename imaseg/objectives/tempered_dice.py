"""Soft Dice that grows sharper as a search proceeds, on logits of a common scale."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from imaseg.objectives.dice import Dice
from imaseg.scores import Target

_SURE_FIRST, _SURE_LAST = 2.5, 10.0  # gaps above which logits are scaled down, in logits


class TemperedDice(Dice):
    """`Dice` of logits / T, where T falls geometrically over the search.

        T = max(1, gap / 2.5) ** (1 - progress) * (sharpest * max(1, gap / 10)) ** progress

    At the start that is soft Dice, whose slopes reach far even where the model is sure; at the end it is close to the
    hard Dice that decides. The gap is what lies between the label's logit and the best other one, mean over the
    labelled foreground voxels of a sample. A model whose logits are multiplied by 1000 decides the same, but its
    softmax is 0 or 1 and its gradient 0 everywhere; divided by T, which carries no gradient, it is searched like any
    other.

    Args:
        sharpest: temperature at the end of the search for logits of ordinary size, in (0, 1].
        smooth, classes, ignore_index: as in `Dice`.

    Raises:
        ValueError: if sharpest is outside (0, 1].
    """

    title = "soft Dice, sharper as the search goes on"

    def __init__(
        self,
        *,
        sharpest: float = 0.3,
        smooth: float = 1.0,
        classes: Sequence[int] | None = None,
        ignore_index: int | None = None,
    ) -> None:
        super().__init__(smooth=smooth, classes=classes, ignore_index=ignore_index)
        if not 0 < sharpest <= 1:
            msg = f"sharpest must be in (0, 1], got {sharpest}. Use 0.3."
            raise ValueError(msg)
        self.sharpest = sharpest

    def _loss(self, logits: Tensor, target: Target, progress: float) -> Tensor:
        gap = _gap(logits.detach(), target)
        first, last = ((gap / sure).clamp(min=1.0) for sure in (_SURE_FIRST, _SURE_LAST))
        temperature = first ** (1 - progress) * (self.sharpest * last) ** progress
        return super()._loss(logits / temperature[:, None, None], target, progress)


def _gap(logits: Tensor, target: Target) -> Tensor:
    """Mean absolute gap (B,) between the label's logit and the best other one, over labelled foreground voxels.

    A sample without foreground has the mean over all valid voxels.
    """
    foreground = target.onehot[:, target.foreground]
    present = foreground.flatten(1).any(1)[:, None, None]
    foreground = torch.where(present, foreground, target.valid.expand_as(foreground))
    if target.regions:
        gap = logits.abs()
    else:
        right = (logits * target.onehot).sum(1, keepdim=True)
        other = logits.masked_fill(target.onehot, -float("inf")).amax(1, keepdim=True)
        gap = (right - other).abs().expand_as(foreground)
    return (gap * foreground).flatten(1).sum(1) / foreground.flatten(1).sum(1).clamp(min=1)
