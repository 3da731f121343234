"""The lowest Dice that is left if only some voxels are sure to keep their decision.

A voxel certified at a radius keeps its decision within it. All others are taken to be wrong in the worst way: missing
from their own structure, and painted into the one that is being counted.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor


def dice_floor(prediction: Tensor, label: Tensor, sure: Tensor, structures: Collection[Sequence[int]]) -> float:
    """The lowest mean Dice over classes if voxels that are not `sure` may take any decision.

    Each class is taken at its own worst, so that the mean is a bound that no single change need reach.

    Args:
        prediction: integer (*spatial).
        label: integer (*spatial); negative values are ignored.
        sure: bool (*spatial), where the prediction cannot change.
        structures: over which the mean is taken: the classes inside each.

    >>> one, none = torch.tensor([1, 1, 0]), torch.tensor([True, False, True])
    >>> dice_floor(one, one, none, [[1]])
    0.6666666666666666
    """
    valid, total = label >= 0, 0.0
    for inside in structures:
        found, truth = (torch.isin(volume, volume.new_tensor(inside)) for volume in (prediction, label))
        right = int((sure & found & truth).sum())
        painted = int(((found | ~sure) & ~truth & valid).sum())
        both = right + painted + int(truth.sum())
        total += 2 * right / both if both else 1.0
    return total / len(structures)
