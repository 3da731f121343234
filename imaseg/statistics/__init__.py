"""Confidence intervals of means over cases, and paired comparisons of two models."""

from imaseg.statistics.comparison import paired
from imaseg.statistics.interval import DRAWS, FEWEST, bootstrap, bootstrap_each

__all__ = ["DRAWS", "FEWEST", "bootstrap", "bootstrap_each", "paired"]
