"""Margins: the smallest budget at which a case, a structure or a voxel meets a failure criterion."""

from imaseg.margins.certified import CertifiedMargin, CertifiedMarginResult
from imaseg.margins.criteria import Criterion, DiceBelow, MaxDiceBelow, Misclassified, VoxelsFlipped
from imaseg.margins.gap import CertifiedGap, certified_gap
from imaseg.margins.sample import SampleMargin, SampleMarginResult, default_challenger
from imaseg.margins.smoothed import Smoothed
from imaseg.margins.voxel import VoxelMargin, VoxelMarginResult

__all__ = [
    "CertifiedGap",
    "CertifiedMargin",
    "CertifiedMarginResult",
    "Criterion",
    "DiceBelow",
    "MaxDiceBelow",
    "Misclassified",
    "SampleMargin",
    "SampleMarginResult",
    "Smoothed",
    "VoxelMargin",
    "VoxelMarginResult",
    "VoxelsFlipped",
    "certified_gap",
    "default_challenger",
]
