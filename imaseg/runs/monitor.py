"""Monitors the clean Dice on cases kept out of training; no weights are selected by it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from monai.metrics import compute_dice
from monai.networks import one_hot

from imaseg.data import CaseSet
from imaseg.models.segmentation import SegmentationModel
from imaseg.runs.batches import monitor_loader
from imaseg.tiling import TiledModel

_MANY = 8


class Monitor:
    """Computes the mean foreground Dice over `cases`, in this process alone.

    MONAI's evaluator would wait for the other processes of `torchrun`, which do not evaluate.

    Args:
        model: the model in training; its mode (train or eval) is restored afterwards.
        cases: prepared cases with labels.
        patch: side lengths of a training patch; cases of more than eight times its voxels are predicted in tiles.
    """

    def __init__(self, model: SegmentationModel, cases: CaseSet, patch: Sequence[int]) -> None:
        self.model, self.classes = model, len(model.card.labels)
        self.loader = monitor_loader(cases)
        self.largest, self.tiled = _MANY * math.prod(patch), TiledModel(model, roi_size=patch)

    def mean_dice(self) -> float:
        """Return the current mean Dice; NaN if no case has foreground."""
        training, device = self.model.training, next(self.model.parameters()).device
        self.model.eval()
        with torch.no_grad():
            scores = [self._dice(batch["image"].to(device), batch["label"].to(device)) for batch in self.loader]
        self.model.train(training)
        return float(torch.cat(scores).nanmean())

    def _dice(self, image: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """Mean over the foreground classes that a case holds (B,); NaN where it holds none."""
        network = self.tiled if math.prod(image.shape[2:]) > self.largest else self.model
        decision = one_hot(network(image).argmax(1, keepdim=True), self.classes)
        return compute_dice(decision, one_hot(label, self.classes), include_background=False).nanmean(1)
