"""How far a case is from breaking: the smallest budget that meets a criterion."""

from imaseg.margins.criteria import Criterion, DiceBelow, Misclassified, VoxelsFlipped
from imaseg.margins.sample import SampleMargin, SampleMarginResult

__all__ = ["Criterion", "DiceBelow", "Misclassified", "SampleMargin", "SampleMarginResult", "VoxelsFlipped"]
