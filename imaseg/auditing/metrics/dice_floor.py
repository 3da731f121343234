"""The lowest Dice that is left if only some voxels are sure to keep their decision.

A voxel certified at a radius keeps its decision within it. All others are taken to be wrong in the worst way: missing
from their own structure, and painted into the one that is being counted.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def dice_floor(prediction: Tensor, label: Tensor, sure: Tensor, classes: Sequence[int]) -> float:
    """The lowest mean Dice over classes if voxels that are not `sure` may take any decision.

    Each class is taken at its own worst, so that the mean is a bound that no single change need reach.

    Args:
        prediction: integer (*spatial).
        label: integer (*spatial); negative values are ignored.
        sure: bool (*spatial), where the prediction cannot change.
        classes: over which the mean is taken.

    >>> import torch
    >>> one, none = torch.tensor([1, 1, 0]), torch.tensor([True, False, True])
    >>> dice_floor(one, one, none, [1])
    0.6666666666666666
    """
    valid, total = label >= 0, 0.0
    for k in classes:
        right = int((sure & (prediction == k) & (label == k)).sum())
        painted = int((((prediction == k) | ~sure) & (label != k) & valid).sum())
        both = right + painted + int((label == k).sum())
        total += 2 * right / both if both else 1.0
    return total / len(classes)
