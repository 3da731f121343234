"""Calibration under attack: expected calibration error against eps, one line per model."""

from __future__ import annotations

from collections.abc import Sequence

from imaseg.report import plot
from imaseg.report.audits import Audits, lacking
from imaseg.report.blocks import Figure, Grid, Table, table
from imaseg.report.compare import Curve, Point, Series, curves_of, strongest
from imaseg.report.numerals import decimal, short, unit_name
from imaseg.report.sections.base import Section
from imaseg.report.works import WORKS

_LEAD = (
    "Expected calibration error: the gap between how sure a model is and how often it is right (0 is best). A model "
    "that fails while sure of itself is the more dangerous."
)


def build(audits: Audits) -> Section | None:
    """One figure per perturbation set, under its worst attack."""
    measured = [(series, _lines(audits, series)) for series in strongest(audits)]
    figures = [_figure(number, *pair, audits) for number, pair in enumerate(measured) if pair[1]]
    grid, works = Grid(figures, "small fill"), [WORKS["calibration"]]
    title, name = "Calibration under attack", "Calibration"
    return Section(130, "calibration", title, [grid], _LEAD, name, works=works) if figures else None


def _lines(audits: Audits, series: Series) -> list[Curve]:
    """Of each model the budgets at which its calibration is known, if there are attacked ones among them."""
    curves = [
        curve._replace(points=[point for point in curve.points if _error(point) is not None])
        for curve in curves_of(audits, series)
    ]
    return [curve for curve in curves if any(point.probe for point in curve.points)]


def _error(point: Point) -> float | None:
    return point.metrics.get("ece")


def _said(point: Point) -> str:
    return f"{decimal(_error(point))} at eps {short(point.eps)}"


def _figure(number: int, series: Series, lines: Sequence[Curve], audits: Audits) -> Figure:
    ends = "; ".join(f"{line.name}: {_said(line.points[0])}, {_said(line.points[-1])}" for line in lines)
    spots = [[(point.eps, _error(point), f"{line.name}: {_said(point)}") for point in line.points] for line in lines]
    return plot.figure(
        f"calibration-{number}",
        series.title,
        [plot.line(line.number, line.name, each) for line, each in zip(lines, spots, strict=True)],
        plot.axis(series.axis, nticks=7),
        plot.axis("calibration error", rangemode="tozero", nticks=6),
        caption=[f"Probe {series.probe}.", lacking(audits, [line.audit for line in lines], "Not measured")],
        label=f"Line chart of the expected calibration error against eps under {series.title}. {ends}.",
        table=_table(series, lines),
    )


def _table(series: Series, lines: Sequence[Curve]) -> Table:
    rows = [
        {
            "Model": line.name,
            f"eps ({unit_name(series.unit)})": point.budget,
            "Calibration error": decimal(_error(point)),
            "Dice": decimal(point.dice),
        }
        for line in lines
        for point in line.points
    ]
    return table(f"Expected calibration error (0 to 1, mean over cases) under {series.title}", rows)
