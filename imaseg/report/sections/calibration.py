"""Calibration under attack: expected calibration error against eps, one line per model."""

from __future__ import annotations

from collections.abc import Sequence

from imaseg.report.audits import Audits, lacking
from imaseg.report.blocks import Figure, Grid, Table, table
from imaseg.report.compare import Curve, Point, Series, curves_of, strongest
from imaseg.report.numerals import decimal, listing, set_name, short, unit_name
from imaseg.report.sections.base import Section
from imaseg.report.style import plot
from imaseg.report.works import WORKS


def build(audits: Audits) -> Section | None:
    """One figure per perturbation set, under its worst attack."""
    measured = [(series, _lines(audits, series)) for series in strongest(audits)]
    figures = [_figure(number, *pair, audits) for number, pair in enumerate(measured) if pair[1]]
    if not figures:
        return None
    return Section(
        130,
        "calibration",
        "Calibration",
        "Calibration under attack",
        [Grid(figures, "small fill")],
        "Expected calibration error: the gap between how sure a model is and how often it is right (0 is best). A "
        "model that fails while sure of itself is the more dangerous.",
        works=[WORKS["calibration"]],
    )


def _lines(audits: Audits, series: Series) -> list[Curve]:
    """Of each model the budgets at which its calibration is known, if there are attacked ones among them."""
    curves = [
        curve._replace(points=[point for point in curve.points if _error(point) is not None])
        for curve in curves_of(audits, series)
    ]
    return [curve for curve in curves if any(point.probe for point in curve.points)]


def _error(point: Point) -> float | None:
    return point.metrics.get("ece")


def _figure(number: int, series: Series, lines: Sequence[Curve], audits: Audits) -> Figure:
    missing = lacking(audits, [line.audit for line in lines])
    ends = "; ".join(f"{line.audit.name}: {_said(line.points[0])}, {_said(line.points[-1])}" for line in lines)
    traces = [
        plot.line(
            line.number,
            line.audit.name,
            [point.eps for point in line.points],
            [_error(point) for point in line.points],
            [f"{line.audit.name}: {_said(point)}" for point in line.points],
        )
        for line in lines
    ]
    return plot.figure(
        f"calibration-{number}",
        series.title,
        traces,
        plot.axis(f"eps ({unit_name(series.unit)}, {set_name(series.perturbation)})", nticks=7),
        plot.axis("calibration error", rangemode="tozero", nticks=6),
        caption=f"Probe {series.probe}." + (f" Not measured: {listing(missing)}." if missing else ""),
        label=f"Line chart of the expected calibration error against eps under {series.title}. {ends}.",
        table=_table(series, lines),
    )


def _said(point: Point) -> str:
    return f"{decimal(_error(point))} at eps {short(point.eps)}"


def _table(series: Series, lines: Sequence[Curve]) -> Table:
    rows = [
        {
            "Model": line.audit.name,
            f"eps ({unit_name(series.unit)})": short(point.eps) if point.eps else "0 (clean)",
            "Calibration error": decimal(_error(point)),
            "Dice": decimal(point.dice),
        }
        for line in lines
        for point in line.points
    ]
    return table(f"Expected calibration error (0 to 1, mean over cases) under {series.title}", rows)
