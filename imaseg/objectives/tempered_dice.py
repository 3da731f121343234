"""Soft Dice that grows sharper as a search proceeds, on logits of a common scale."""

from __future__ import annotations

from torch import Tensor

from imaseg.objectives.dice import Dice
from imaseg.scores import Target


class TemperedDice(Dice):
    """`Dice` of logits / T, with T = max(1, mean gap / `saturation`) * `sharpest` ** progress.

    At the start of a search that is soft Dice, whose slopes reach far; at its end it is close to the hard Dice that
    decides. The gap is what lies between the label's logit and the best other one, mean over the labelled foreground
    voxels of a sample: a model whose logits are multiplied by 1000 decides the same, but its softmax is 0 or 1 and its
    gradient 0 everywhere; divided by T, which carries no gradient, it is searched like the original. Ordinary logits
    are left alone.

    Args:
        sharpest: temperature at the end of the search, in (0, 1].
        saturation: gap from which logits are scaled down, in logits.
        smooth, ignore_index: as in `Dice`.

    Raises:
        ValueError: if sharpest is outside (0, 1] or saturation not positive.
    """

    def __init__(
        self,
        *,
        sharpest: float = 0.3,
        saturation: float = 10.0,
        smooth: float = 1.0,
        ignore_index: int | None = None,
    ) -> None:
        super().__init__(smooth=smooth, ignore_index=ignore_index)
        if not 0 < sharpest <= 1:
            msg = f"sharpest must be in (0, 1], got {sharpest}. Use 0.3."
            raise ValueError(msg)
        if not saturation > 0:
            msg = f"saturation must be > 0 (logits), got {saturation}. Use 10."
            raise ValueError(msg)
        self.sharpest = sharpest
        self.saturation = saturation

    def _loss(self, logits: Tensor, target: Target, progress: float) -> Tensor:
        temperature = (_gap(logits.detach(), target) / self.saturation).clamp(min=1.0) * self.sharpest**progress
        return super()._loss(logits / temperature[:, None, None], target, progress)


def _gap(logits: Tensor, target: Target) -> Tensor:
    """Mean absolute gap (B,) between the label's logit and the best other one, over labelled foreground voxels."""
    foreground = target.onehot[:, target.foreground]
    if target.regions:
        gap = logits.abs()
    else:
        right = (logits * target.onehot).sum(1, keepdim=True)
        other = logits.masked_fill(target.onehot, -float("inf")).amax(1, keepdim=True)
        gap = (right - other).abs().expand_as(foreground)
    return (gap * foreground).flatten(1).sum(1) / foreground.flatten(1).sum(1).clamp(min=1)
