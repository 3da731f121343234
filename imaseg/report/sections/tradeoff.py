"""Clean against robust Dice: a dot per model, its intervals as bars, and the line on which an attack costs nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import plotly.graph_objects as go

from imaseg.report import plot
from imaseg.report.audits import Audit, Audits, labels_are_predictions, lacking
from imaseg.report.blocks import Figure, Grid, Section, Table, table
from imaseg.report.compare import Point, Series, at, clean_point, strongest, telling
from imaseg.report.focus import over_others
from imaseg.report.wording import amount, brief, decimal, in_words, short

_LEAD = "Robustness often costs some Dice on unchanged images. Robust: under the worst attack of the set."
_READ = (
    "Bars: 95 % intervals. On the dotted line an attack costs nothing; the higher and the further right, the better."
)
_DOTTED: dict[str, Any] = {"mode": "lines", "hoverinfo": "skip", "line_color": "#808890", "line_dash": "dot"}


class _Dot(NamedTuple):
    number: int
    audit: Audit
    clean: Point
    robust: Point


def build(audits: Audits) -> Section | None:
    """One figure per perturbation set, under its worst attack at the budget at which models are compared."""
    if labels_are_predictions(audits):
        return None
    compared = [(series, telling(audits, series)) for series in strongest(audits)]
    figures = [_figure(i, series, eps, audits) for i, (series, eps) in enumerate(compared) if eps is not None]
    grid = Grid(figures, "small fill")
    return Section(20, "tradeoff", "Clean against robust Dice", [grid], _LEAD, "Trade-off") if figures else None


def _figure(number: int, series: Series, eps: float, audits: Audits) -> Figure:
    points = [(model, audit, at(audit, series, eps)) for model, audit in enumerate(audits)]
    dots = [_Dot(model, audit, clean_point(audit), point) for model, audit, point in points if point is not None]
    low, budget = _low_end(dots), amount(eps, series.unit)
    said = "; ".join(
        f"{dot.audit.name}: {decimal(dot.clean.dice)} clean, {decimal(dot.robust.dice)} under attack" for dot in dots
    )
    costless = plot.dots(0, "no loss (y = x)", [(low, low, ""), (1.0, 1.0, "")], legendgroup="no loss", **_DOTTED)
    return plot.figure(
        f"tradeoff-{number}",
        f"{series.set}, eps {budget}",
        [costless, *(_dot(dot, eps) for dot in dots)],
        plot.axis("mean Dice, unchanged images", range=[low, 1.0], nticks=6),
        plot.axis(f"mean Dice under attack, eps {brief(eps, series.unit)}", range=[low, 1.0], nticks=6),
        caption=[
            f"Attack: {series.title} (probe {series.probe}) at {budget}.",
            _READ,
            lacking(audits, [dot.audit for dot in dots], "Not audited with this probe"),
            *(over_others(audits, dot.audit, [dot.clean, dot.robust]) for dot in dots),
        ],
        label=f"Scatter chart of mean Dice on unchanged images against mean Dice under {series.title}. {said}.",
        table=_table(dots, f"Mean foreground Dice, clean and under {series.title} at {budget}"),
        height=400,
    )


def _low_end(dots: Sequence[_Dot]) -> float:
    """Where both axes begin, so that the line is a diagonal and every bar is on the plot."""
    points = [point for dot in dots for point in (dot.clean, dot.robust)]
    ends = [end for point in points for end in (point.dice, *(point.dice_ci95 or ())) if end is not None]
    return max(0.0, int(10 * min(ends, default=0.0) - 0.5) / 10)


def _dot(dot: _Dot, eps: float) -> go.Scatter:
    clean, robust, number = dot.clean, dot.robust, dot.number
    said = (
        f"{dot.audit.name}: {decimal(clean.dice)} clean ({in_words(clean.dice_ci95)}), "
        f"{decimal(robust.dice)} at eps {short(eps)} ({in_words(robust.dice_ci95)})"
    )
    across, up = (plot.bars(point.dice, point.dice_ci95, number) for point in (clean, robust))
    return plot.dots(number, dot.audit.name, [(clean.dice, robust.dice, said)], size=12, error_x=across, error_y=up)


def _table(dots: Sequence[_Dot], caption: str) -> Table:
    rows = [
        {
            "Model": dot.audit.name,
            "Clean [95 % CI]": dot.clean.cell,
            "Under attack [95 % CI]": dot.robust.cell,
            "n": dot.robust.n,
        }
        for dot in dots
    ]
    return table(caption, rows)
