"""A metric against eps under one attack: every model in it, each case a point, the 95 % interval a band."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from imaseg.report import plot
from imaseg.report.audits import Audits, lacking
from imaseg.report.blocks import Figure, Table, table, with_interval
from imaseg.report.breaking import native_text
from imaseg.report.compare import Curve, Point, Series, all_series, curves_of, settings
from imaseg.report.focus import over_others
from imaseg.report.wording import ADDED, amount, decimal, listing, set_meaning, short, unit_name

_DODGE = 0.012


def curve_figure(
    key: str, audits: Audits, series: Series, metric: tuple[str, str], up: dict[str, Any], *, height: int = 300
) -> Figure | None:
    """One figure; None where no model has the metric under attack.

    Args:
        key: its anchor.
        audits: the models.
        series: the attack.
        metric: its name in results, and in sentences.
        up: the axis of the metric, from `plot.axis`.
        height: in pixels.
    """
    name, words = metric
    curves = curves_of(audits, series, name)
    if not curves:
        return None
    widest = max(point.eps for curve in curves for point in curve.points)
    shifts = [(curve.number - (len(audits) - 1) / 2) * _DODGE * widest for curve in curves]
    alike = [other for other in all_series(audits) if other[1:] == series[1:]]
    title = series.title + (f" ({series.probe})" if len(alike) > 1 else "")
    return plot.figure(
        key,
        title,
        [trace for curve, shift in zip(curves, shifts, strict=True) for trace in _traces(curve, metric, shift)],
        plot.axis(series.axis, range=[-0.05 * widest, 1.05 * widest], nticks=7),
        up,
        caption=[
            *_caption(audits, series, curves),
            *(over_others(audits, curve.audit, curve.points) for curve in curves if name == "dice"),
        ],
        label=f"Line chart of {words} against eps under {title}. {_ends(curves, series, name)}.",
        table=_table(series, curves, name, f"{words[0].upper()}{words[1:]} (0 to 1) under {title}"),
        height=height,
    )


def _caption(audits: Audits, series: Series, curves: Sequence[Curve]) -> list[str]:
    points = [point for curve in curves for point in curve.points]
    how = "; ".join(dict.fromkeys(settings(point) for point in points if point.probe))
    return [
        f"Probe {series.probe}: {how}. n = {listing(sorted({point.n for point in points}))}.",
        "" if series.unit in ADDED and series.within is None else set_meaning(series.perturbation, series.within),
        lacking(audits, [curve.audit for curve in curves], "Not measured with this probe"),
    ]


def _ends(curves: Sequence[Curve], series: Series, name: str) -> str:
    ends = [(curve.audit.name, curve.points[0].metrics[name], curve.points[-1]) for curve in curves]
    return "; ".join(
        f"{model}: {decimal(clean)} clean, {decimal(last.metrics[name])} at {amount(last.eps, series.unit)}"
        for model, clean, last in ends
    )


def _traces(curve: Curve, metric: tuple[str, str], shift: float) -> list[go.Scatter]:
    """The interval, the cases, the mean."""
    (name, words), number, model = metric, curve.number, curve.audit.name
    means, cases, edge = [], [], []
    for point in curve.points:
        cell, at = with_interval(point.metrics[name], point.ci95.get(name)), f"eps {short(point.eps)}"
        means.append((point.eps, point.metrics[name], f"{model}: {words} {cell.text} {cell.note}, {at}, n = {point.n}"))
        for case, value in point.values(name).items():
            cases.append((point.eps + shift, value, f"{case}: {words} {decimal(value)}, {at}"))
        if ends := point.ci95.get(name):
            edge.append((point.eps, ends[0], ends[1]))
    dots = plot.dots(number, "", cases, size=5, marker_color=plot.veil(number, 0.4))
    return [plot.band(number, edge), dots, plot.line(number, model, means)]


def _table(series: Series, curves: Sequence[Curve], name: str, caption: str) -> Table:
    rows = [
        {
            "Model": curve.audit.name,
            f"eps ({unit_name(series.unit)})": short(point.eps) if point.eps else "0 (clean)",
            "eps in the image's units": native_text(curve.audit, series.unit, point.eps),
            "Mean [95 % CI]": with_interval(point.metrics[name], point.ci95.get(name)),
            "n": point.n,
            **_spread(point, name),
        }
        for curve in curves
        for point in curve.points
    ]
    return table(f"{caption} (probe {series.probe}), 95 % interval and spread of cases", rows)


def _spread(point: Point, name: str) -> dict[str, str]:
    values = list(point.values(name).values())
    spread = np.percentile(values, (0, 50, 100)).tolist() if values else [None] * 3
    return dict(zip(("Lowest case", "Median", "Highest case"), map(decimal, spread), strict=True))
