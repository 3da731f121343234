"""Dice against eps: one plot per attack, every model in it, each case a point, the 95 % interval a band."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from imaseg.report import style
from imaseg.report.breaking import native
from imaseg.report.compare import Point, Series, all_series, clean_point, ladder, strongest
from imaseg.report.known import about_set
from imaseg.report.numerals import ADDED, attack_name, bracket, decimal, listing, set_name, short, unit_name
from imaseg.report.parts import Cell, Figure, Table, row
from imaseg.report.read import Audit
from imaseg.report.words import settings

_DODGE = 0.012


def curve_figures(audits: Sequence[Audit]) -> list[Figure]:
    """One figure per attack; the strongest of each perturbation set comes first and large."""
    lead = strongest(audits)
    rest = sorted((s for s in all_series(audits) if s not in lead), key=lambda series: series.noise)
    return [_figure(place, series, audits, large=series in lead) for place, series in enumerate([*lead, *rest])]


def _figure(place: int, series: Series, audits: Sequence[Audit], *, large: bool) -> Figure:
    curves = [
        (model, [clean_point(audit), *points])
        for model, audit in enumerate(audits)
        if (points := ladder(audit, series))
    ]
    widest = max(point.eps for _, points in curves for point in points)
    plot = go.Figure(layout=_layout(series, widest, large))
    for model, points in curves:
        shift = (model - (len(audits) - 1) / 2) * _DODGE * widest
        plot.add_traces([_band(points, model), _cases(points, model, shift), _mean(points, model, audits[model].name)])
    name = _name(series, audits)
    missing = [audit.name for audit in audits if not ladder(audit, series)]
    how = list(dict.fromkeys(settings(point) for _, points in curves for point in points if point.probe))
    sizes = sorted({point.n for _, points in curves for point in points})
    caption = f"Probe {series.probe}: {'; '.join(how)}. n = {listing([str(size) for size in sizes])}."
    if series.unit not in ADDED and (meaning := about_set(series.perturbation).meaning):
        caption += f" {meaning}"
    if missing:
        caption += f" Not audited with this probe: {listing(missing)}."
    label = f"Line chart of mean foreground Dice against eps under {name}. {_ends(audits, curves, series)}"
    table = _table(series, [(audits[model], points) for model, points in curves], name)
    return Figure(f"curve-{place}", _title(name), caption, label, plot.to_plotly_json(), table, large)


def _name(series: Series, audits: Sequence[Audit]) -> str:
    """Attack and set, with the probe's name where another probe has the same."""
    alike = [one for one in all_series(audits) if one[1:] == series[1:]]
    probe = f" ({series.probe})" if len(alike) > 1 else ""
    return f"{attack_name(series.attack)}, {set_name(series.perturbation)}{probe}"


def _title(name: str) -> str:
    return name[0].upper() + name[1:]


def _layout(series: Series, widest: float, large: bool) -> dict[str, Any]:
    across = style.axis(
        f"eps ({unit_name(series.unit)}, {set_name(series.perturbation)})",
        range=[-0.05 * widest, 1.05 * widest],
        nticks=7,
    )
    up = style.axis("mean foreground Dice", range=[-0.03, 1.03], dtick=0.2)
    return style.layout(420 if large else 300, across, up, legend=True)


def _band(points: list[Point], model: int) -> go.Scatter:
    known = [p for p in points if p.dice_ci95 and None not in p.dice_ci95]
    eps = [p.eps for p in known]
    low = [p.dice_ci95[0] for p in known if p.dice_ci95]
    high = [p.dice_ci95[1] for p in known if p.dice_ci95]
    return go.Scatter(
        x=eps + eps[::-1],
        y=high + low[::-1],
        fill="toself",
        mode="lines",
        line={"width": 0, "color": style.veil(model, 0)},
        fillcolor=style.veil(model, 0.22),
        hoverinfo="skip",
        showlegend=False,
        legendgroup=str(model),
    )


def _cases(points: list[Point], model: int, shift: float) -> go.Scatter:
    shown = [(point.eps, case) for point in points for case in point.cases if case.dice is not None]
    return go.Scatter(
        x=[eps + shift for eps, _ in shown],
        y=[case.dice for _, case in shown],
        mode="markers",
        marker={"size": 5, "color": style.veil(model, 0.4), "symbol": style.symbol(model)},
        text=[f"{style.literal(case.case)}: Dice {decimal(case.dice)} at eps {short(eps)}" for eps, case in shown],
        hoverinfo="text",
        showlegend=False,
        legendgroup=str(model),
    )


def _mean(points: list[Point], model: int, name: str) -> go.Scatter:
    return go.Scatter(
        x=[point.eps for point in points],
        y=[point.dice for point in points],
        mode="lines+markers",
        name=style.literal(name),
        line={"color": style.colour(model), "width": 2.5, "dash": style.dash(model)},
        marker={"size": 9, "symbol": style.symbol(model), "color": style.colour(model)},
        text=[
            f"{style.literal(name)}: mean Dice {decimal(p.dice)} {bracket(p.dice_ci95)}, eps {short(p.eps)}, n = {p.n}"
            for p in points
        ],
        hoverinfo="text",
        legendgroup=str(model),
    )


def _ends(audits: Sequence[Audit], curves: list[tuple[int, list[Point]]], series: Series) -> str:
    said = [
        f"{audits[model].name}: {decimal(points[0].dice)} clean, {decimal(points[-1].dice)} at "
        f"{short(points[-1].eps)} {unit_name(series.unit)}"
        for model, points in curves
    ]
    return "; ".join(said) + "."


def _table(series: Series, curves: list[tuple[Audit, list[Point]]], name: str) -> Table:
    rows = [
        row(
            audit.name,
            short(point.eps) if point.eps else "0 (clean)",
            _native(audit, series, point),
            Cell(decimal(point.dice), bracket(point.dice_ci95)),
            str(point.n),
            *_spread(point),
        )
        for audit, points in curves
        for point in points
    ]
    caption = f"Mean foreground Dice (0 to 1) under {name} (probe {series.probe}), 95 % interval and spread of cases"
    eps = [f"eps ({unit_name(series.unit)})", "eps in the image's units"]
    head = ["Model", *eps, "Mean [95 % CI]", "n", "Lowest case", "Median", "Highest case"]
    return Table(caption, head, rows)


def _native(audit: Audit, series: Series, point: Point) -> str:
    """A budget in the image's own units at the median case."""
    span = native(audit, series.unit, point.eps)
    if span is None:
        return "no intensity" if series.unit not in ADDED else "not recorded"
    return short(span.median)


def _spread(point: Point) -> list[str]:
    values = [case.dice for case in point.cases if case.dice is not None]
    if not values:
        return [decimal(None)] * 3
    return [decimal(float(value)) for value in (min(values), np.median(values), max(values))]
