"""Dice against eps: one plot per attack, every model in it, each case a point, the 95 % interval a band."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from imaseg.report import plot
from imaseg.report.audits import Audits, lacking
from imaseg.report.blocks import Figure, Grid, Table, table
from imaseg.report.breaking import native_text
from imaseg.report.compare import Curve, Point, Series, all_series, curves_of, settings, strongest
from imaseg.report.known import about_set
from imaseg.report.numerals import ADDED, amount, decimal, listing, short, unit_name
from imaseg.report.sections.base import Section

_LEAD = (
    "Line: mean over cases of the mean foreground Dice. Band: its 95 % bootstrap interval. Points: single cases, "
    "shifted sideways so that models do not hide each other. eps 0 is the unchanged image. Large: the strongest attack."
)
_DODGE = 0.012


def build(audits: Audits) -> Section | None:
    """One figure per attack; the strongest of each perturbation set comes first and large."""
    lead = strongest(audits)
    rest = sorted((s for s in all_series(audits) if s not in lead), key=lambda series: series.noise)
    large, small = [
        [_figure(number, series, audits, height) for number, series in enumerate(group, start)]
        for group, start, height in ((lead, 0, 420), (rest, len(lead), 300))
    ]
    blocks = [*large, *([Grid(small)] if small else [])]
    return Section(40, "curves", "Dice against eps", blocks, _LEAD) if blocks else None


def _figure(number: int, series: Series, audits: Audits, height: int) -> Figure:
    curves = curves_of(audits, series)
    widest = max(point.eps for curve in curves for point in curve.points)
    traces = []
    for curve in curves:
        shift = (curve.number - (len(audits) - 1) / 2) * _DODGE * widest
        traces += [_band(curve), _cases(curve, shift), _mean(curve)]
    alike = [other for other in all_series(audits) if other[1:] == series[1:]]
    name = series.title + (f" ({series.probe})" if len(alike) > 1 else "")
    ends = [
        f"{curve.name}: {decimal(curve.points[0].dice)} clean, {decimal(last.dice)} at {amount(last.eps, series.unit)}"
        for curve in curves
        for last in curve.points[-1:]
    ]
    return plot.figure(
        f"curve-{number}",
        name,
        traces,
        plot.axis(series.axis, range=[-0.05 * widest, 1.05 * widest], nticks=7),
        plot.axis("mean foreground Dice", range=[-0.03, 1.03], dtick=0.2),
        caption=_caption(audits, series, curves),
        label=f"Line chart of mean foreground Dice against eps under {name}. {'; '.join(ends)}.",
        table=_table(series, curves, name),
        height=height,
    )


def _caption(audits: Audits, series: Series, curves: Sequence[Curve]) -> list[str]:
    points = [point for curve in curves for point in curve.points]
    how = "; ".join(dict.fromkeys(settings(point) for point in points if point.probe))
    return [
        f"Probe {series.probe}: {how}. n = {listing([str(n) for n in sorted({point.n for point in points})])}.",
        "" if series.unit in ADDED else about_set(series.perturbation).meaning,
        lacking(audits, [curve.audit for curve in curves], "Not audited with this probe"),
    ]


def _band(curve: Curve) -> go.Scatter:
    return plot.band(curve.number, [(point.eps, *point.dice_ci95) for point in curve.points if point.dice_ci95])


def _cases(curve: Curve, shift: float) -> go.Scatter:
    spots = [
        (point.eps + shift, case.dice, f"{case.case}: Dice {decimal(case.dice)} at eps {short(point.eps)}")
        for point in curve.points
        for case in point.cases
        if case.dice is not None
    ]
    return plot.dots(curve.number, "", spots, size=5, marker_color=plot.veil(curve.number, 0.4))


def _mean(curve: Curve) -> go.Scatter:
    spots = [
        (p.eps, p.dice, f"{curve.name}: mean Dice {p.cell.text} {p.cell.note}, eps {short(p.eps)}, n = {p.n}")
        for p in curve.points
    ]
    return plot.line(curve.number, curve.name, spots)


def _table(series: Series, curves: Sequence[Curve], name: str) -> Table:
    rows = [
        {
            "Model": curve.name,
            f"eps ({unit_name(series.unit)})": point.budget,
            "eps in the image's units": native_text(curve.audit, series.unit, point.eps),
            "Mean [95 % CI]": point.cell,
            "n": point.n,
            **_spread(point),
        }
        for curve in curves
        for point in curve.points
    ]
    caption = f"Mean foreground Dice (0 to 1) under {name} (probe {series.probe}), 95 % interval and spread of cases"
    return table(caption, rows)


def _spread(point: Point) -> dict[str, str]:
    values = [case.dice for case in point.cases if case.dice is not None]
    spread = np.percentile(values, (0, 50, 100)).tolist() if values else [None] * 3
    return dict(zip(("Lowest case", "Median", "Highest case"), map(decimal, spread), strict=True))
