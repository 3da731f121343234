"""Monitors the Dice on cases kept out of training: of unchanged images, and under a short attack."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from monai.metrics import compute_dice
from monai.networks import one_hot

from imaseg.attacks import Attack
from imaseg.data import CaseSet
from imaseg.models.segmentation import SegmentationModel
from imaseg.runs.batches import monitor_loader
from imaseg.runs.config import ATTACKED, CLEAN
from imaseg.tiling import TiledModel

_MANY = 8


class Monitor:
    """Computes the mean foreground Dice over `cases`, in this process alone.

    MONAI's evaluator would wait for the other processes of `torchrun`, which do not evaluate.

    Args:
        model: the model in training; its mode (train or eval) is restored afterwards.
        cases: prepared cases with labels.
        patch: side lengths of a training patch; cases of more than eight times its voxels are predicted in tiles.
        attack: that the cases are judged under too.
        within: where alone it may change images, in mm from a structure; None for all.
        hold: keep the cases in memory.
    """

    def __init__(
        self,
        model: SegmentationModel,
        cases: CaseSet,
        patch: Sequence[int],
        *,
        attack: Attack | None = None,
        within: float | None = None,
        hold: bool = True,
    ) -> None:
        self.model, self.classes = model, len(model.card.labels)
        self.attack, self.within = attack, within
        self.loader = monitor_loader(cases, within=within, hold=hold)
        self.largest, self.tiled = _MANY * math.prod(patch), TiledModel(model, roi_size=patch)

    def scores(self) -> dict[str, float]:
        """Return the current mean Dice, clean and under the attack if there is one; NaN if no case has foreground."""
        training, device = self.model.training, next(self.model.parameters()).device
        self.model.eval()
        clean, attacked = [], []
        for batch in self.loader:
            image, label, inside = (batch[key].to(device) for key in ("image", "label", "inside"))
            with torch.no_grad():
                clean.append(self._dice(image, label))
            if self.attack is not None:
                attacked.append(self._attacked(self.attack, image, label, inside))
        self.model.train(training)
        found = {CLEAN: clean, ATTACKED: attacked}
        return {name: float(torch.cat(values).nanmean()) for name, values in found.items() if values}

    def _attacked(self, attack: Attack, image: torch.Tensor, label: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
        """As `_dice`, at the worst point that the attack finds."""
        if self.within is not None:
            attack = attack.on(attack.perturbation.within(inside > 0))
        found = attack(self._network(image), image, label.long())
        return found.foreground_dice.where((label > 0).flatten(1).any(1), torch.nan)

    def _network(self, image: torch.Tensor) -> torch.nn.Module:
        return self.tiled if math.prod(image.shape[2:]) > self.largest else self.model

    def _dice(self, image: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """Mean over the foreground classes that a case holds (B,); NaN where it holds none."""
        decision = one_hot(self._network(image)(image).argmax(1, keepdim=True), self.classes)
        return compute_dice(decision, one_hot(label, self.classes), include_background=False).nanmean(1)
