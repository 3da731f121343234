"""Calibration under attack: expected calibration error against eps, one line per model."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from imaseg.report import style
from imaseg.report.compare import Point, Series, clean_point, ladder, strongest
from imaseg.report.numerals import attack_name, decimal, listing, set_name, short, unit_name
from imaseg.report.parts import Figure, Table, row
from imaseg.report.read import Audit

_Lines = list[tuple[int, str, list[Point]]]


def calibration_figures(audits: Sequence[Audit]) -> list[Figure]:
    """One figure per perturbation set, under its worst attack; none where no calibration was measured."""
    found = [(series, _lines(audits, series)) for series in strongest(audits)]
    return [_figure(place, series, lines, audits) for place, (series, lines) in enumerate(found) if lines]


def _lines(audits: Sequence[Audit], series: Series) -> _Lines:
    """Of each model the budgets at which its calibration is known, if there are attacked ones among them."""
    found = []
    for model, audit in enumerate(audits):
        points = [point for point in [clean_point(audit), *ladder(audit, series)] if _error(point) is not None]
        if any(point.probe for point in points):
            found.append((model, audit.name, points))
    return found


def _error(point: Point) -> float | None:
    return point.metrics.get("ece")


def _figure(place: int, series: Series, lines: _Lines, audits: Sequence[Audit]) -> Figure:
    attack = f"{attack_name(series.attack)}, {set_name(series.perturbation)}"
    across = style.axis(f"eps ({unit_name(series.unit)}, {set_name(series.perturbation)})", nticks=7)
    up = style.axis("calibration error", rangemode="tozero", nticks=6)
    plot = go.Figure(layout=style.layout(300, across, up, legend=True))
    for model, name, points in lines:
        plot.add_trace(_trace(model, name, points))
    ends = "; ".join(
        f"{name}: {decimal(_error(points[0]))} at {short(points[0].eps)}, "
        f"{decimal(_error(points[-1]))} at {short(points[-1].eps)}"
        for _, name, points in lines
    )
    known = {name for _, name, _ in lines}
    missing = [audit.name for audit in audits if audit.name not in known]
    caption = f"Probe {series.probe}." + (f" Not measured: {listing(missing)}." if missing else "")
    label = f"Line chart of the expected calibration error against eps under {attack}. {ends}."
    rows = [
        row(name, short(point.eps) if point.eps else "0 (clean)", decimal(_error(point)), decimal(point.dice))
        for _, name, points in lines
        for point in points
    ]
    head = ["Model", f"eps ({unit_name(series.unit)})", "Calibration error", "Dice"]
    table = Table(f"Expected calibration error (0 to 1, mean over cases) under {attack}", head, rows)
    return Figure(f"calibration-{place}", attack[0].upper() + attack[1:], caption, label, plot.to_plotly_json(), table)


def _trace(model: int, name: str, points: Sequence[Point]) -> go.Scatter:
    return go.Scatter(
        x=[point.eps for point in points],
        y=[_error(point) for point in points],
        mode="lines+markers",
        name=style.literal(name),
        line={"color": style.colour(model), "width": 2.5, "dash": style.dash(model)},
        marker={"size": 9, "symbol": style.symbol(model), "color": style.colour(model)},
        text=[f"{style.literal(name)}: {decimal(_error(point))} at eps {short(point.eps)}" for point in points],
        hoverinfo="text",
    )
