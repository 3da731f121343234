"""The metrics of a segmentation: what each is called, what it means, and how its numbers are written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from imaseg.report.numerals import decimal, signed
from imaseg.report.read import Audit


class Metric(NamedTuple):
    """One metric; `short` names it inside a cell, `meaning` explains it once on the page."""

    name: str
    head: str
    short: str
    digits: int
    meaning: str = ""
    sign: bool = False

    def write(self, value: float | None) -> str:
        """A value in a table."""
        return signed(value, self.digits) if self.sign else decimal(value, self.digits)


_DEFAULT = ("dice", "hd95", "surface_dice", "fp_volume")
METRICS = (
    Metric("dice", "Dice", "Dice", 3),
    Metric("hd95", "HD95 (mm)", "HD95", 2, "HD95: 95th percentile of the Hausdorff distance"),
    Metric("surface_dice", "Surface Dice (1 voxel)", "surface Dice", 3),
    Metric("surface_dice_2mm", "Surface Dice (2 mm)", "surface Dice 2 mm", 3),
    Metric("volume_error", "Volume error (ml)", "volume", 3, "Volume error: predicted minus labelled volume", True),
    Metric(
        "fp_volume", "FP volume (mm\u00b3)", "FP volume", 1, "FP volume: predicted for a structure that the label lacks"
    ),
    Metric("missed", "Missed", "missed", 2, "Missed: share of the labelled structures that were not found at all"),
    Metric(
        "false_positive", "False positive", "false positive", 2, "False positive: share of structures made up entirely"
    ),
    Metric("ece", "Calibration error", "calibration", 3, "Calibration error: gap between confidence and accuracy"),
)


def shown_metrics(audits: Sequence[Audit]) -> list[Metric]:
    """The metrics that any of the audits holds; those that every audit must have always."""
    blocks = [block for audit in audits for block in (audit.summary.foreground_mean, *audit.summary.mean.values())]
    return [one for one in METRICS if one.name in _DEFAULT or any(one.name in block for block in blocks)]
