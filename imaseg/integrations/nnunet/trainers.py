"""The trainers by the names that `nnUNetv2_train -tr` takes.

`nnUNetTrainerStandard` trains as stock nnU-Net does, with the settings, tables and seeds of the others: the control
that a comparison needs. Variants with `_Nepochs` have nnU-Net's usual short schedules.
"""

from __future__ import annotations

from typing import Any, ClassVar

from imaseg.integrations.nnunet.config import PERTURBATION
from imaseg.integrations.nnunet.robust import RobustTrainer


class nnUNetTrainerStandard(RobustTrainer):
    """Clean batches only."""

    method_name = "standard"


class nnUNetTrainerIMA(RobustTrainer):
    """Increasing-margin adversarial training: every case at its own decision boundary."""

    method_name = "ima"
    preset: ClassVar[dict[str, Any]] = {"perturbation": PERTURBATION}


class nnUNetTrainerPGD(RobustTrainer):
    """Half clean, half PGD at a fixed budget."""

    method_name = "pgd-training"
    preset: ClassVar[dict[str, Any]] = {"perturbation": PERTURBATION}


class nnUNetTrainerTRADES(RobustTrainer):
    """Clean loss and the drift of the prediction under attack."""

    method_name = "trades"
    preset: ClassVar[dict[str, Any]] = {"perturbation": PERTURBATION}


class nnUNetTrainerStandard_1epoch(nnUNetTrainerStandard):
    """1 epoch."""

    short = 1


class nnUNetTrainerStandard_5epochs(nnUNetTrainerStandard):
    """5 epochs."""

    short = 5


class nnUNetTrainerStandard_10epochs(nnUNetTrainerStandard):
    """10 epochs."""

    short = 10


class nnUNetTrainerStandard_20epochs(nnUNetTrainerStandard):
    """20 epochs."""

    short = 20


class nnUNetTrainerStandard_50epochs(nnUNetTrainerStandard):
    """50 epochs."""

    short = 50


class nnUNetTrainerStandard_100epochs(nnUNetTrainerStandard):
    """100 epochs."""

    short = 100


class nnUNetTrainerStandard_250epochs(nnUNetTrainerStandard):
    """250 epochs."""

    short = 250


class nnUNetTrainerStandard_500epochs(nnUNetTrainerStandard):
    """500 epochs."""

    short = 500


class nnUNetTrainerIMA_1epoch(nnUNetTrainerIMA):
    """1 epoch."""

    short = 1


class nnUNetTrainerIMA_5epochs(nnUNetTrainerIMA):
    """5 epochs."""

    short = 5


class nnUNetTrainerIMA_10epochs(nnUNetTrainerIMA):
    """10 epochs."""

    short = 10


class nnUNetTrainerIMA_20epochs(nnUNetTrainerIMA):
    """20 epochs."""

    short = 20


class nnUNetTrainerIMA_50epochs(nnUNetTrainerIMA):
    """50 epochs."""

    short = 50


class nnUNetTrainerIMA_100epochs(nnUNetTrainerIMA):
    """100 epochs."""

    short = 100


class nnUNetTrainerIMA_250epochs(nnUNetTrainerIMA):
    """250 epochs."""

    short = 250


class nnUNetTrainerIMA_500epochs(nnUNetTrainerIMA):
    """500 epochs."""

    short = 500


class nnUNetTrainerPGD_1epoch(nnUNetTrainerPGD):
    """1 epoch."""

    short = 1


class nnUNetTrainerPGD_5epochs(nnUNetTrainerPGD):
    """5 epochs."""

    short = 5


class nnUNetTrainerPGD_10epochs(nnUNetTrainerPGD):
    """10 epochs."""

    short = 10


class nnUNetTrainerPGD_20epochs(nnUNetTrainerPGD):
    """20 epochs."""

    short = 20


class nnUNetTrainerPGD_50epochs(nnUNetTrainerPGD):
    """50 epochs."""

    short = 50


class nnUNetTrainerPGD_100epochs(nnUNetTrainerPGD):
    """100 epochs."""

    short = 100


class nnUNetTrainerPGD_250epochs(nnUNetTrainerPGD):
    """250 epochs."""

    short = 250


class nnUNetTrainerPGD_500epochs(nnUNetTrainerPGD):
    """500 epochs."""

    short = 500


class nnUNetTrainerTRADES_1epoch(nnUNetTrainerTRADES):
    """1 epoch."""

    short = 1


class nnUNetTrainerTRADES_5epochs(nnUNetTrainerTRADES):
    """5 epochs."""

    short = 5


class nnUNetTrainerTRADES_10epochs(nnUNetTrainerTRADES):
    """10 epochs."""

    short = 10


class nnUNetTrainerTRADES_20epochs(nnUNetTrainerTRADES):
    """20 epochs."""

    short = 20


class nnUNetTrainerTRADES_50epochs(nnUNetTrainerTRADES):
    """50 epochs."""

    short = 50


class nnUNetTrainerTRADES_100epochs(nnUNetTrainerTRADES):
    """100 epochs."""

    short = 100


class nnUNetTrainerTRADES_250epochs(nnUNetTrainerTRADES):
    """250 epochs."""

    short = 250


class nnUNetTrainerTRADES_500epochs(nnUNetTrainerTRADES):
    """500 epochs."""

    short = 500


__all__ = [
    "nnUNetTrainerIMA",
    "nnUNetTrainerIMA_1epoch",
    "nnUNetTrainerIMA_5epochs",
    "nnUNetTrainerIMA_10epochs",
    "nnUNetTrainerIMA_20epochs",
    "nnUNetTrainerIMA_50epochs",
    "nnUNetTrainerIMA_100epochs",
    "nnUNetTrainerIMA_250epochs",
    "nnUNetTrainerIMA_500epochs",
    "nnUNetTrainerPGD",
    "nnUNetTrainerPGD_1epoch",
    "nnUNetTrainerPGD_5epochs",
    "nnUNetTrainerPGD_10epochs",
    "nnUNetTrainerPGD_20epochs",
    "nnUNetTrainerPGD_50epochs",
    "nnUNetTrainerPGD_100epochs",
    "nnUNetTrainerPGD_250epochs",
    "nnUNetTrainerPGD_500epochs",
    "nnUNetTrainerStandard",
    "nnUNetTrainerStandard_1epoch",
    "nnUNetTrainerStandard_5epochs",
    "nnUNetTrainerStandard_10epochs",
    "nnUNetTrainerStandard_20epochs",
    "nnUNetTrainerStandard_50epochs",
    "nnUNetTrainerStandard_100epochs",
    "nnUNetTrainerStandard_250epochs",
    "nnUNetTrainerStandard_500epochs",
    "nnUNetTrainerTRADES",
    "nnUNetTrainerTRADES_1epoch",
    "nnUNetTrainerTRADES_5epochs",
    "nnUNetTrainerTRADES_10epochs",
    "nnUNetTrainerTRADES_20epochs",
    "nnUNetTrainerTRADES_50epochs",
    "nnUNetTrainerTRADES_100epochs",
    "nnUNetTrainerTRADES_250epochs",
    "nnUNetTrainerTRADES_500epochs",
]
