"""Objectives, which attacks maximise: they map (logits, label, progress) to one value per sample, larger is worse."""

from imaseg.objectives.balanced_masked_ce import BalancedMaskedCE
from imaseg.objectives.base import Objective
from imaseg.objectives.cospgd import CosPGDLoss
from imaseg.objectives.cross_entropy import CrossEntropy
from imaseg.objectives.dice import Dice
from imaseg.objectives.dice_ce import DiceCE
from imaseg.objectives.jensen_shannon import JensenShannon
from imaseg.objectives.logit_margin import LogitMargin
from imaseg.objectives.masked_ce import MaskedCE
from imaseg.objectives.masked_spherical import MaskedSpherical
from imaseg.objectives.segpgd import SegPGDLoss
from imaseg.objectives.targeted import Erase, Grow, Swap, Towards
from imaseg.objectives.tempered_dice import TemperedDice
from imaseg.objectives.weakest_voxels import WeakestVoxels

__all__ = [
    "BalancedMaskedCE",
    "CosPGDLoss",
    "CrossEntropy",
    "Dice",
    "DiceCE",
    "Erase",
    "Grow",
    "JensenShannon",
    "LogitMargin",
    "MaskedCE",
    "MaskedSpherical",
    "Objective",
    "SegPGDLoss",
    "Swap",
    "TemperedDice",
    "Towards",
    "WeakestVoxels",
]
