"""Calibration under attack: expected calibration error against eps, one line per model."""

from __future__ import annotations

from imaseg.report import plot
from imaseg.report.audits import Audits, labels_are_predictions
from imaseg.report.blocks import Grid, Section
from imaseg.report.compare import strongest
from imaseg.report.eps_curves import curve_figure

_LEAD = (
    "Expected calibration error: the gap between how sure a model is and how often it is right (0 is best), over the "
    "voxels that are labelled or within 5 mm of one, so that the background does not hide the rest. A model that fails "
    "while sure of itself is the more dangerous. Line, band and points: mean over cases, its 95 % interval, single "
    "cases."
)
_ERROR = ("ece", "expected calibration error")


def build(audits: Audits) -> Section | None:
    """One figure per perturbation set, under its worst attack."""
    if labels_are_predictions(audits):
        return None
    up = plot.axis("calibration error", rangemode="tozero", nticks=6)
    drawn = [curve_figure(f"calibration-{n}", audits, s, _ERROR, up) for n, s in enumerate(strongest(audits))]
    grid = Grid([figure for figure in drawn if figure is not None], "small fill")
    title, name, works = "Calibration under attack", "Calibration", ["calibration"]
    return Section(130, "calibration", title, [grid], _LEAD, name, works=works) if grid.blocks else None
