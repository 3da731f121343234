"""Converts logits of nnU-Net's regions to class logits whose argmax is the segmentation that nnU-Net writes.

nnU-Net paints the regions one after the other wherever their logit is above 0, so that a voxel gets the class of the
last region that holds it. As scores, with z_i the logit of region i in that order:

    s(background) = min_i -z_i,     s(class of i) = min(z_i, min_{j > i} -z_j)

One of them is at least 0 and all others at most 0: it belongs to the class that is painted. Each score is one of the
logits up to its sign, so that gradients pass unscaled.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def classes_of_regions(logits: Tensor, order: Sequence[int]) -> Tensor:
    """Convert region logits (B, len(order), *spatial) to class logits (B, max(order) + 1, *spatial).

    Args:
        logits: one channel per region, in the order in which they are painted.
        order: class that each region paints; all of 1, 2, ... occur.

    >>> z = torch.tensor([[[-1.0, 2.0, 2.0, -3.0], [-2.0, -1.0, 3.0, 1.0]]])
    >>> classes_of_regions(z, [1, 2]).argmax(1)
    tensor([[0, 1, 2, 2]])
    """
    scores: list[Tensor | None] = [None] * (max(order) + 1)
    later: Tensor | None = None  # min of -z over the regions painted after this one
    for position in reversed(range(len(order))):
        region = logits[:, position]
        own = region if later is None else torch.minimum(region, later)
        score_so_far = scores[order[position]]
        scores[order[position]] = own if score_so_far is None else torch.maximum(score_so_far, own)
        later = -region if later is None else torch.minimum(-region, later)
    return torch.stack([later if score is None else score for score in scores], 1)  # type: ignore[misc]


def class_of_label(value: int, regions: Sequence[int | Sequence[int]], order: Sequence[int]) -> int:
    """The class that a perfect model predicts where the label is `value`.

    >>> [class_of_label(value, [(1, 2, 3), (2, 3), 3], [1, 2, 3]) for value in range(4)]
    [0, 1, 2, 3]
    """
    painted = 0
    for region, color in zip(regions, order, strict=True):
        if value in (region if isinstance(region, Sequence) else (region,)):
            painted = color
    return painted
