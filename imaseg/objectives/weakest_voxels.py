"""The voxels nearest to flipping: what a search for "any voxel flips" or "this share flips" should push."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from imaseg.objectives.base import Objective
from imaseg.objectives.decisions import decision_margin
from imaseg.scores import Target


class WeakestVoxels(Objective):
    """Minus the mean logit gap of the voxels still right that are nearest to flipping.

    As many as make more than `fraction` of the valid voxels: with 0.0 the single weakest voxel, so that a budget shared
    by the image is not spread over voxels that need not flip. Voxels wrong already do not count towards them, since
    they may have been wrong from the start. A voxel of a region-based model is wrong when one of its channels is.

    Args:
        fraction: share of the valid voxels, in [0, 1).
        classes: only voxels labelled with one of these channels count; None for all.
        ignore_index: label value whose voxels carry no loss.

    Raises:
        ValueError: if fraction is outside [0, 1).

    >>> logits = torch.tensor([[[3.0, 1.0, 0.0], [1.0, 0.5, 9.0]]])
    >>> WeakestVoxels(0.0)(logits, torch.tensor([[0, 0, 1]]))
    tensor([-0.5000])
    """

    title = "weakest voxels"

    def __init__(
        self, fraction: float = 0.0, *, classes: Sequence[int] | None = None, ignore_index: int | None = None
    ) -> None:
        super().__init__(ignore_index=ignore_index)
        if not 0 <= fraction < 1:
            msg = f"fraction must be in [0, 1), got {fraction}. Use 0.0 for any voxel."
            raise ValueError(msg)
        self.fraction = fraction
        self.classes = None if classes is None else tuple(classes)

    def _loss(self, logits: Tensor, target: Target, progress: float) -> Tensor:
        margin = decision_margin(logits, target).amax(1)
        counted = target.among(self.classes)
        standing = counted & (margin <= 0)
        ordered = margin.detach().where(standing, -torch.inf).sort(1, descending=True).values
        number = ((counted.sum(1) * self.fraction).floor().long() + 1).minimum(standing.sum(1).clamp(min=1))
        threshold = ordered.gather(1, (number - 1)[:, None])
        chosen = standing & (margin >= threshold)
        return (margin * chosen).sum(1) / chosen.sum(1).clamp(min=1)
