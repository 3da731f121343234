"""The trainers under the names that `nnUNetv2_train -tr` takes.

`nnUNetTrainerStandard` trains as stock nnU-Net does, with the settings, tables and seeds of the others, as the control
of a comparison. Variants named `_Nepochs` have nnU-Net's short schedules.
"""

from __future__ import annotations

from typing import Any, ClassVar

from imaseg.integrations.nnunet.config import PERTURBATION
from imaseg.integrations.nnunet.robust import RobustTrainer


class nnUNetTrainerStandard(RobustTrainer):
    """Trains on clean batches only."""

    method_name = "standard"


class nnUNetTrainerIMA(RobustTrainer):
    """Increasing-Margin Adversarial training: perturbs every case up to its own decision boundary."""

    method_name = "ima"
    preset: ClassVar[dict[str, Any]] = {"perturbation": PERTURBATION}


class nnUNetTrainerPGD(RobustTrainer):
    """Trains half on clean batches, half on PGD at a fixed budget."""

    method_name = "pgd-training"
    preset: ClassVar[dict[str, Any]] = {"perturbation": PERTURBATION}


class nnUNetTrainerTRADES(RobustTrainer):
    """Trains on the clean loss plus the change of the prediction under attack."""

    method_name = "trades"
    preset: ClassVar[dict[str, Any]] = {"perturbation": PERTURBATION}


for _base in (nnUNetTrainerStandard, nnUNetTrainerIMA, nnUNetTrainerPGD, nnUNetTrainerTRADES):
    for _epochs in (1, 5, 10, 20, 50, 100, 250, 500):
        _name = f"{_base.__name__}_{_epochs}epoch{'s' if _epochs > 1 else ''}"
        globals()[_name] = type(
            _name,
            (_base,),
            {"__module__": __name__, "__doc__": f"As `{_base.__name__}`, {_epochs} epochs.", "short": _epochs},
        )
