"""Folds of an nnU-Net as one differentiable model that predicts as nnU-Net does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from torch import Tensor, nn

from imaseg.models.nnunet.plans import Plans
from imaseg.models.nnunet.preparation import Preparation
from imaseg.models.outputs.decision import classes_of_regions
from imaseg.models.segmentation import ModelCard, SegmentationModel
from imaseg.tiling import TiledModel


class NNUNetModel(SegmentationModel):
    """Maps an image (B, C, X, Y, Z), as nnU-Net's preprocessor makes it, to class logits of the same size.

    Tiles, their weights and the mirroring are nnU-Net's; the blending is in float32 where nnU-Net's is in half
    precision. Several folds are one model: the mean of their logits, so that an attack moves along the gradient of all.

    Args:
        folds: networks of the folds.
        plans: plans that all folds share.
        mirror_axes: axes of the network's input along which predictions are mirrored.
        card: description of the model.
        prepare: converts raw volumes to what the model takes.
    """

    def __init__(
        self,
        folds: Sequence[nn.Module],
        plans: Plans,
        mirror_axes: Sequence[int],
        card: ModelCard,
        prepare: Preparation,
    ) -> None:
        patch = tuple(int(side) for side in plans.configuration.patch_size)
        along = 1 if plans.is_2d else 0
        tiled = TiledModel(
            folds[0] if len(folds) == 1 else MeanOfFolds(folds),
            patch,
            overlap=0.5,
            even=True,
            weight=_tile_weight(patch),
            mirror_axes=tuple(axis + along for axis in mirror_axes),
            slices_along=0 if plans.is_2d else None,
        )
        super().__init__(tiled, card)
        self.prepare = prepare
        self._there = (0, 1, *(axis + 2 for axis in plans.axes))
        self._back = tuple(int(axis) for axis in torch.tensor(self._there).argsort())
        self._order = tuple(plans.labels.regions_class_order) if plans.labels.has_regions else ()
        self.independent = bool(self._order)

    def forward(self, image: Tensor) -> Tensor:
        """Return class logits (B, K, X, Y, Z); their argmax is the segmentation."""
        logits = self.channels(image)
        return classes_of_regions(logits, self._order) if self._order else logits

    def channels(self, image: Tensor) -> Tensor:
        """Return the logits (B, heads, X, Y, Z) of classes or regions."""
        logits: Tensor = self.network(image.permute(self._there))
        return logits.permute(self._back)

    @property
    def painted(self) -> dict[int, int] | None:  # type: ignore[override]
        """Class that each region paints, in order; None for models of classes."""
        return dict(enumerate(self._order)) or None


class MeanOfFolds(nn.Module):
    """Averages the logits of several networks.

    Args:
        folds: networks that take the same images.
    """

    def __init__(self, folds: Sequence[nn.Module]) -> None:
        super().__init__()
        self.folds = nn.ModuleList(folds)

    def forward(self, image: Tensor) -> Tensor:
        """Return the mean of the logits over the folds."""
        total: Tensor = self.folds[0](image)
        for fold in self.folds[1:]:
            total = total + fold(image)
        return total / len(self.folds)


def _tile_weight(patch: tuple[int, ...]) -> Tensor:
    """nnU-Net's Gaussian tile weights, rounded to half precision as nnU-Net does.

    The same values as those of its `compute_gaussian`, which filters the whole tile and takes seconds over large ones.
    """
    weight = np.ones(())
    for side in patch:
        line = np.zeros(side)
        line[side // 2] = 1
        weight = weight[..., None] * gaussian_filter1d(line, side / 8, mode="constant")
    weight /= weight.max() / 10
    rounded = torch.from_numpy(weight).half().float()
    least = rounded.masked_fill(rounded == 0, torch.inf).min()
    return rounded.clamp_(min=float(least))
