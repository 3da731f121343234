"""What "worse" means: objectives map (logits, label, progress) to one value per sample, larger is worse."""

from imaseg.objectives.base import Objective
from imaseg.objectives.cross_entropy import CrossEntropy
from imaseg.objectives.dice import Dice
from imaseg.objectives.dice_ce import DiceCE

__all__ = ["CrossEntropy", "Dice", "DiceCE", "Objective"]
