"""Dice against eps: one plot per attack, every model in it, each case a point, the 95 % interval a band."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import plotly.graph_objects as go

from imaseg.report.audits import Audits, lacking
from imaseg.report.blocks import Figure, Grid, Table, table, with_interval
from imaseg.report.breaking import native_text
from imaseg.report.compare import Curve, Point, Series, all_series, curves_of, settings, strongest
from imaseg.report.known import about_set
from imaseg.report.numerals import ADDED, bracket, decimal, listing, set_name, short, unit_name
from imaseg.report.sections.base import Section
from imaseg.report.style import plot

_DODGE = 0.012


def build(audits: Audits) -> Section | None:
    """One figure per attack; the strongest of each perturbation set comes first and large."""
    lead = strongest(audits)
    rest = sorted((s for s in all_series(audits) if s not in lead), key=lambda series: series.noise)
    figures = [_figure(number, s, audits, large=s in lead) for number, s in enumerate([*lead, *rest])]
    if not figures:
        return None
    return Section(
        40,
        "curves",
        "Dice against eps",
        "Dice against eps",
        [*figures[: len(lead)], *([Grid(figures[len(lead) :])] if rest else [])],
        "Line: mean over cases of the mean foreground Dice. Band: its 95 % bootstrap interval. Points: single cases, "
        "shifted sideways so that models do not hide each other. eps 0 is the unchanged image. Large: the strongest "
        "attack.",
    )


def _figure(number: int, series: Series, audits: Audits, *, large: bool) -> Figure:
    curves = curves_of(audits, series)
    widest = max(point.eps for curve in curves for point in curve.points)
    traces = []
    for curve in curves:
        shift = (curve.number - (len(audits) - 1) / 2) * _DODGE * widest
        traces += [_band(curve), _cases(curve, shift), _mean(curve)]
    alike = [other for other in all_series(audits) if other[1:] == series[1:]]
    name = series.title + (f" ({series.probe})" if len(alike) > 1 else "")
    eps = f"eps ({unit_name(series.unit)}, {set_name(series.perturbation)})"
    return plot.figure(
        f"curve-{number}",
        name,
        traces,
        plot.axis(eps, range=[-0.05 * widest, 1.05 * widest], nticks=7),
        plot.axis("mean foreground Dice", range=[-0.03, 1.03], dtick=0.2),
        caption=_caption(series, curves, lacking(audits, [curve.audit for curve in curves])),
        label=f"Line chart of mean foreground Dice against eps under {name}. {_ends(curves, series)}",
        table=_table(series, curves, name),
        height=420 if large else 300,
    )


def _caption(series: Series, curves: Sequence[Curve], missing: Sequence[str]) -> str:
    points = [point for curve in curves for point in curve.points]
    how = dict.fromkeys(settings(point) for point in points if point.probe)
    sizes = listing([str(size) for size in sorted({point.n for point in points})])
    parts = [
        f"Probe {series.probe}: {'; '.join(how)}. n = {sizes}.",
        "" if series.unit in ADDED else about_set(series.perturbation).meaning,
        f"Not audited with this probe: {listing(missing)}." if missing else "",
    ]
    return " ".join(part for part in parts if part)


def _band(curve: Curve) -> go.Scatter:
    points = [(point.eps, point.dice_ci95) for point in curve.points if point.dice_ci95 is not None]
    eps = [eps for eps, _ in points]
    low, high = ([ends[side] for _, ends in points if ends] for side in (0, 1))
    return go.Scatter(
        x=eps + eps[::-1],
        y=high + low[::-1],
        fill="toself",
        mode="lines",
        line={"width": 0, "color": plot.veil(curve.number, 0)},
        fillcolor=plot.veil(curve.number, 0.22),
        hoverinfo="skip",
        showlegend=False,
        legendgroup=str(curve.number),
    )


def _cases(curve: Curve, shift: float) -> go.Scatter:
    shown = [(point.eps, case) for point in curve.points for case in point.cases if case.dice is not None]
    return plot.dots(
        [eps + shift for eps, _ in shown],
        [case.dice for _, case in shown],
        [f"{case.case}: Dice {decimal(case.dice)} at eps {short(eps)}" for eps, case in shown],
        {"size": 5, "color": plot.veil(curve.number, 0.4), "symbol": plot.symbol(curve.number)},
        showlegend=False,
        legendgroup=str(curve.number),
    )


def _mean(curve: Curve) -> go.Scatter:
    name, points = curve.audit.name, curve.points
    said = [
        f"{name}: mean Dice {decimal(p.dice)} {bracket(p.dice_ci95)}, eps {short(p.eps)}, n = {p.n}" for p in points
    ]
    return plot.line(curve.number, name, [p.eps for p in points], [p.dice for p in points], said)


def _ends(curves: Sequence[Curve], series: Series) -> str:
    said = [
        f"{curve.audit.name}: {decimal(curve.points[0].dice)} clean, {decimal(curve.points[-1].dice)} at "
        f"{short(curve.points[-1].eps)} {unit_name(series.unit)}"
        for curve in curves
    ]
    return "; ".join(said) + "."


def _table(series: Series, curves: Sequence[Curve], name: str) -> Table:
    rows = [
        {
            "Model": curve.audit.name,
            f"eps ({unit_name(series.unit)})": short(point.eps) if point.eps else "0 (clean)",
            "eps in the image's units": native_text(curve.audit, series.unit, point.eps),
            "Mean [95 % CI]": with_interval(point.dice, point.dice_ci95),
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
    spread = (min(values), statistics.median(values), max(values)) if values else (None,) * 3
    return dict(zip(("Lowest case", "Median", "Highest case"), map(decimal, spread), strict=True))
