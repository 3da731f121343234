"""Confidence intervals of means and medians over cases or patients, and paired comparisons of two models."""

from imaseg.statistics.comparison import paired
from imaseg.statistics.interval import (
    FEWEST,
    jackknife,
    mean_interval,
    mean_intervals,
    median_interval,
    membership,
)

__all__ = ["FEWEST", "jackknife", "mean_interval", "mean_intervals", "median_interval", "membership", "paired"]
