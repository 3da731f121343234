"""Monitors the clean Dice on cases kept out of training; no weights are selected by it."""

from __future__ import annotations

import math

import torch
from monai.engines import SupervisedEvaluator
from monai.handlers import MeanDice, from_engine
from monai.transforms import AsDiscreted, Compose

from imaseg.data import CaseSet
from imaseg.models.segmentation import SegmentationModel
from imaseg.runs.batches import monitor_loader


class Monitor:
    """Computes the mean foreground Dice over `cases`.

    Args:
        model: the model in training; its mode (train or eval) is restored afterwards.
        cases: prepared cases with labels.
    """

    def __init__(self, model: SegmentationModel, cases: CaseSet) -> None:
        classes = len(model.card.labels)
        discrete = Compose(
            [AsDiscreted("pred", argmax=True, to_onehot=classes), AsDiscreted("label", to_onehot=classes)]
        )
        self.model = model
        self.evaluator = SupervisedEvaluator(
            device=next(model.parameters()).device,
            val_data_loader=monitor_loader(cases),
            network=model,
            postprocessing=discrete,
            key_val_metric={
                "dice": MeanDice(include_background=False, output_transform=from_engine(["pred", "label"]))
            },
        )

    def mean_dice(self) -> float:
        """Return the current mean Dice; NaN if no case has foreground."""
        training = self.model.training
        with torch.no_grad():
            self.evaluator.run()
        self.model.train(training)
        return float(self.evaluator.state.metrics.get("dice", math.nan))
