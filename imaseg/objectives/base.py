"""Base class of all objectives: one loss value per sample, independent of the rest of the batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor

from imaseg.registry import Registered
from imaseg.scores import Target, encode


class Objective(Registered, ABC):
    """A differentiable loss per sample that an attack maximises.

    Args:
        ignore_index: label value whose voxels carry no loss. Negative labels never do.

    Attributes:
        targeted: whether the objective, not the hard Dice, says which point of a search is the worst.
        title: name in tables.
        reference: the published work in full; empty if there is none.
        cited: short citation of that work, as used in sentences.
    """

    plugin_group = "imaseg.objectives"
    required = ("title",)

    title: ClassVar[str]
    reference: ClassVar[str] = ""
    cited: ClassVar[str] = ""
    targeted: bool = False

    def __init__(self, *, ignore_index: int | None = None) -> None:
        self.ignore_index = ignore_index

    def __call__(self, logits: Tensor, label: Tensor, progress: float = 1.0) -> Tensor:
        """Return the loss of each sample.

        Args:
            logits: (B, K, *spatial) or (B, K).
            label: integer (B, *spatial) or (B, 1, *spatial); boolean (B, K, *spatial) for region-based models.
            progress: how far the search has come, 0 to 1, for objectives that change on the way.

        Returns:
            (B,) in float32 or better.

        Raises:
            ValueError: if label and logits do not fit together.
        """
        return self.of(logits, encode(logits, label, ignore_index=self.ignore_index), progress)

    def of(self, logits: Tensor, target: Target, progress: float = 1.0) -> Tensor:
        """Return the loss for a label that is already encoded."""
        flat = logits.flatten(2) if logits.ndim > 2 else logits.unsqueeze(2)
        # Losses in half precision underflow and make a fragile model look robust.
        return self._loss(flat if flat.dtype.itemsize >= 4 else flat.float(), target, progress)

    @abstractmethod
    def _loss(self, logits: Tensor, target: Target, progress: float) -> Tensor:
        """Loss (B,) of logits (B, K, N) in float32 or better."""
