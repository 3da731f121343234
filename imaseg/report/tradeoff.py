"""Clean against robust Dice: a dot per model, its intervals as bars, and the line on which an attack costs nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import plotly.graph_objects as go

from imaseg.report import style
from imaseg.report.compare import Point, Series, at, clean_point, strongest, telling
from imaseg.report.numerals import attack_name, bracket, decimal, in_words, listing, set_name, short, unit_name
from imaseg.report.parts import Cell, Figure, Table, row
from imaseg.report.read import Audit


class _Dot(NamedTuple):
    model: int
    name: str
    clean: Point
    robust: Point


def tradeoff_figures(audits: Sequence[Audit]) -> list[Figure]:
    """One figure per perturbation set, under its worst attack at the budget at which models are compared."""
    found = [(series, telling(audits, series)) for series in strongest(audits)]
    return [_figure(place, series, eps, audits) for place, (series, eps) in enumerate(found) if eps is not None]


def _figure(place: int, series: Series, eps: float, audits: Sequence[Audit]) -> Figure:
    dots = [
        _Dot(model, audit.name, clean_point(audit), robust)
        for model, audit in enumerate(audits)
        if (robust := at(audit, series, eps)) is not None
    ]
    low = _low_end(dots)
    across = style.axis("mean Dice, unchanged images", range=[low, 1.0], nticks=6)
    up = style.axis(f"mean Dice under attack, eps {short(eps)}", range=[low, 1.0], nticks=6)
    plot = go.Figure(layout=style.layout(400, across, up, legend=True))
    plot.add_trace(_line(low))
    plot.add_traces([_dot(one, eps) for one in dots])
    attack = f"{attack_name(series.attack)}, {set_name(series.perturbation)}"
    missing = [audit.name for model, audit in enumerate(audits) if model not in {one.model for one in dots}]
    caption = (
        f"Attack: {attack} (probe {series.probe}) at {short(eps)} {unit_name(series.unit)}. Bars: 95 % intervals over "
        "cases. On the dotted line an attack costs nothing; the higher and the further right, the better."
    )
    if missing:
        caption += f" Not audited with this probe: {listing(missing)}."
    said = "; ".join(f"{d.name}: {decimal(d.clean.dice)} clean, {decimal(d.robust.dice)} under attack" for d in dots)
    label = f"Scatter chart of mean Dice on unchanged images against mean Dice under {attack}. {said}."
    title = f"{set_name(series.perturbation)}, eps {short(eps)} {unit_name(series.unit)}"
    table = _table(dots, f"Mean foreground Dice, clean and under {attack} at {short(eps)} {unit_name(series.unit)}")
    return Figure(f"tradeoff-{place}", title[0].upper() + title[1:], caption, label, plot.to_plotly_json(), table)


def _low_end(dots: Sequence[_Dot]) -> float:
    """Where both axes begin, so that the line is a diagonal and every bar is on the plot."""
    ends = [end for one in dots for point in (one.clean, one.robust) for end in (point.dice, *(point.dice_ci95 or ()))]
    known = [end for end in ends if end is not None]
    return max(0.0, int(10 * min(known, default=0.0) - 0.5) / 10)


def _line(low: float) -> go.Scatter:
    return go.Scatter(
        x=[low, 1.0],
        y=[low, 1.0],
        mode="lines",
        name="no loss (y = x)",
        line={"color": "#808890", "width": 1.5, "dash": "dot"},
        hoverinfo="skip",
    )


def _dot(one: _Dot, eps: float) -> go.Scatter:
    return go.Scatter(
        x=[one.clean.dice],
        y=[one.robust.dice],
        mode="markers",
        name=style.literal(one.name),
        marker={"size": 12, "symbol": style.symbol(one.model), "color": style.colour(one.model)},
        error_x=_bars(one.clean, one.model),
        error_y=_bars(one.robust, one.model),
        text=[
            f"{style.literal(one.name)}: {decimal(one.clean.dice)} clean ({in_words(one.clean.dice_ci95)}), "
            f"{decimal(one.robust.dice)} at eps {short(eps)} ({in_words(one.robust.dice_ci95)})"
        ],
        hoverinfo="text",
    )


def _bars(point: Point, model: int) -> dict[str, object]:
    low, high = point.dice_ci95 or (None, None)
    if low is None or high is None or point.dice is None:
        return {"visible": False}
    return {
        "type": "data",
        "symmetric": False,
        "array": [high - point.dice],
        "arrayminus": [point.dice - low],
        "color": style.colour(model),
        "thickness": 2,
        "width": 5,
    }


def _table(dots: Sequence[_Dot], caption: str) -> Table:
    rows = [
        row(
            one.name,
            Cell(decimal(one.clean.dice), bracket(one.clean.dice_ci95)),
            Cell(decimal(one.robust.dice), bracket(one.robust.dice_ci95)),
            str(one.robust.n),
        )
        for one in dots
    ]
    return Table(caption, ["Model", "Clean [95 % CI]", "Under attack [95 % CI]", "n"], rows)
