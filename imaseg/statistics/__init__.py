"""How certain a mean over cases is, and whether two models differ: intervals and paired comparisons."""

from imaseg.statistics.comparison import paired
from imaseg.statistics.interval import DRAWS, FEWEST, bootstrap, bootstrap_each

__all__ = ["DRAWS", "FEWEST", "bootstrap", "bootstrap_each", "paired"]
