"""Restricts a model to some of its classes, for data whose labels hold fewer classes than the model knows."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from imaseg.models.outputs.ending import Ending
from imaseg.models.outputs.logits import only
from imaseg.models.segmentation import ModelCard, SegmentationModel


class OnlyClasses(SegmentationModel):
    """A model restricted to some of its classes; all others count as background.

    Args:
        model: the model with all its classes.
        kept: channels of the classes to keep, background (0) first; they become classes 0, 1, 2, ... in that order.
        card: description of the restricted model.
    """

    def __init__(self, model: SegmentationModel, kept: Sequence[int], card: ModelCard) -> None:
        super().__init__(model.network, card)
        self.whole, self.kept = model, tuple(kept)
        self.prepare, self.independent = model.prepare, model.independent
        self.own, self.no_own, self.left_out, self.back = model.own, model.no_own, model.left_out, model.back

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits of the classes that are kept."""
        return only(self.whole(image), self.kept)

    @property
    def ending(self) -> Ending:  # type: ignore[override]
        """Of the whole model."""
        return self.whole.ending
