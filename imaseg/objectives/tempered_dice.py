"""Soft Dice that grows sharper as a search proceeds, on a scale that the model's own logits set."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from imaseg.objectives.dice import Dice
from imaseg.scores import Target


class TemperedDice(Dice):
    """`Dice` of logits / T, where T falls geometrically over the search.

        T = gap / (softest ** (1 - progress) * sharpest ** progress)

    The gap is what lies between the label's logit and the best other one, mean over the labelled foreground voxels of a
    sample. In units of T it is `softest` at the start, where slopes reach far however sure the model is, and `sharpest`
    at the end, close to the hard Dice that decides; T carries no gradient. A model whose logits are multiplied by a
    number decides the same and is searched the same, while its own softmax is 0 or 1 and without a gradient at 1000
    times, and flat at 0.001 times.

    Args:
        softest: gap in units of T at the start of the search, > 0.
        sharpest: the same at its end, at least as large.
        smooth, classes, ignore_index: as in `Dice`.

    Raises:
        ValueError: if softest is not positive or sharpest is below it.
    """

    title = "soft Dice, sharper as the search goes on"

    def __init__(
        self,
        *,
        softest: float = 1.5,
        sharpest: float = 30.0,
        smooth: float = 1.0,
        classes: Sequence[int] | None = None,
        ignore_index: int | None = None,
    ) -> None:
        super().__init__(smooth=smooth, classes=classes, ignore_index=ignore_index)
        if not 0 < softest <= sharpest:
            msg = f"softest and sharpest must be 0 < softest <= sharpest, got {softest} and {sharpest}. Use 1.5 and 30."
            raise ValueError(msg)
        self.softest, self.sharpest = softest, sharpest

    def _loss(self, logits: Tensor, target: Target, progress: float) -> Tensor:
        units = self.softest ** (1 - progress) * self.sharpest**progress
        temperature = _gap(logits.detach(), target) / units
        return super()._loss(logits / temperature[:, None, None], target, progress)


def _gap(logits: Tensor, target: Target) -> Tensor:
    """Mean absolute gap (B,) between the label's logit and the best other one, over labelled foreground voxels.

    A sample without foreground has the mean over all valid voxels. Never less than what rounding leaves of a gap.
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
    mean = (gap * foreground).flatten(1).sum(1) / foreground.flatten(1).sum(1).clamp(min=1)
    kind = torch.finfo(logits.dtype)
    return mean.maximum(logits.abs().flatten(1).amax(1) * kind.eps).clamp(min=kind.tiny / kind.eps)
