"""A model on data that label fewer classes than it knows."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from imaseg.models.logits import only
from imaseg.models.segmentation import ModelCard, SegmentationModel


class OnlyClasses(SegmentationModel):
    """The model that tells some of its classes apart only; all others count as background.

    Args:
        model: with all classes.
        kept: channels of the classes, background (0) first; they are numbered 0, 1, 2, ... in that order.
        card: with the names of these.
    """

    def __init__(self, model: SegmentationModel, kept: Sequence[int], card: ModelCard) -> None:
        super().__init__(model.network, card)
        self.whole, self.kept = model, tuple(kept)
        self.prepare, self.independent = model.prepare, model.independent

    def forward(self, image: Tensor) -> Tensor:
        """Logits by class."""
        return only(self.whole(image), self.kept)
