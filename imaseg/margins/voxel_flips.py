"""Records the size of the smallest evaluated perturbation that flips each voxel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from imaseg.attacks.evaluate import Evaluator
from imaseg.margins.criteria import _right
from imaseg.scores import Target

_ROUNDING = 1e-5


class Flips:
    """The smallest size at which each voxel was seen to be wrong.

    Attributes:
        right: (B, N) bool, voxels that are right on the clean image and not ignored.
        size: (B, N) float32, 0 where not right, infinite where nothing has flipped the voxel yet.
        ceiling: (B,) float32, largest size that counts.

    Args:
        clean_logits: (B, K, *spatial).
        target: the label.
        ceiling: (B,).
    """

    def __init__(self, clean_logits: Tensor, target: Target, ceiling: Tensor) -> None:
        self.right = _right(clean_logits, target)
        self.size = torch.zeros(self.right.shape, device=self.right.device).masked_fill(self.right, torch.inf)
        self.ceiling = ceiling.float()

    @property
    def standing(self) -> Tensor:
        """Voxels (B, N) that no evaluated perturbation has flipped yet."""
        return torch.isinf(self.size)

    @property
    def margin(self) -> Tensor:
        """Smallest sizes (B, N); the ceiling where no perturbation flipped the voxel."""
        return torch.minimum(self.size, self.ceiling[:, None])

    def record(self, samples: Sequence[int], sizes: Tensor, wrong: Tensor) -> None:
        """Record one evaluated point per row.

        Args:
            samples: which sample of the batch each row is about; several rows may be about the same one.
            sizes: (rows,) of the perturbations; those above the ceiling do not count.
            wrong: (rows, N) bool, voxels that are wrong there.
        """
        ceiling = self.ceiling[list(samples)]
        # The slack is for rounding after projection; points clearly beyond belong to searches of larger sets.
        counts = sizes <= ceiling * (1 + _ROUNDING)
        sizes = torch.minimum(sizes.float(), ceiling)
        for row, sample in enumerate(samples):
            smallest = self.size[sample]
            smaller = wrong[row] & counts[row] & (sizes[row] < smallest)
            self.size[sample] = torch.where(smaller, sizes[row], smallest)


def wrong_at(evaluator: Evaluator, index: Tensor, params: Tensor, logits: Tensor) -> Tensor:
    """Voxels (len(index), N) that are wrong at params (len(index), ...), by their position on the grid.

    Where the set moves the label, a position is wrong if what has moved there was right and now is not.
    """
    if evaluator.perturbation.moves_label:
        moved = evaluator.target_of(index, params)
        return _right(evaluator.clean_of(index, params), moved) & ~_right(logits, moved)
    target = evaluator.target
    if len(index) < len(evaluator.image):
        target = Target(target.onehot[index], target.valid[index], target.regions)
    return ~_right(logits, target)
