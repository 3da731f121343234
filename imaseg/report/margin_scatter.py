"""Margin of each structure against its volume and its clean Dice: which kind of case breaks first."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from scipy.stats import spearmanr

from imaseg.report import plot
from imaseg.report.blocks import Figure, table
from imaseg.report.margin_sets import MarginSet
from imaseg.report.margin_words import margin_text, structure_name
from imaseg.report.wording import decimal, short, unit_name
from imaseg.results.margin import CaseMargin, MarginEntry

_FEWEST = 5
"""Cases below which a rank correlation says nothing."""
_Points = list[tuple[float, CaseMargin]]


def scatter_figures(margins: MarginSet) -> list[Figure]:
    """Two figures: against volume, against clean Dice."""
    return [
        _figure(margins, "volume_ml", "volume", "volume in the label (ml)"),
        _figure(margins, "clean_dice", "clean Dice", "Dice on the unchanged image"),
    ]


def _figure(margins: MarginSet, field: str, title: str, axis: str) -> Figure:
    """Against a field of margins; `title` and `axis` name it in sentences and at the axis."""
    entries = [entry for entry in margins.entries if entry.structure is not None] or margins.entries
    name, unit = margins.question.set, unit_name(margins.question.unit)
    points = {structure_name(entry.structure): _points(entry, field) for entry in entries}
    found = {structure: _correlation(each) for structure, each in points.items()}
    said = "; ".join(f"{structure} {rho} (n = {len(points[structure])})" for structure, rho in found.items())
    numbers = table(
        f"Rank correlation of margin in the {name} and {title}; unbroken cases share the highest rank",
        [{"Structure": each, "Spearman's rho": rho, "n": len(points[each])} for each, rho in found.items()],
    )
    return plot.figure(
        f"{field}-{margins.question.probe}",
        f"{name}: margin against {title}",
        [_dots(number, *named) for number, named in enumerate(points.items(), start=1)],
        plot.axis(axis, nticks=6),
        plot.axis(f"margin ({unit})", rangemode="tozero", nticks=6),
        caption=[f"Rank correlation: {said}."],
        label=f"Scatter chart of margins in the {name} against {title}, one point per case. Rank correlations: {said}.",
        table=numbers,
    )


def _points(entry: MarginEntry, field: str) -> _Points:
    values = [(getattr(case, field), case) for case in entry.per_case]
    return [(value, case) for value, case in values if value is not None]


def _dots(number: int, name: str, points: _Points) -> go.Scatter:
    symbol = plot.symbol(number)
    symbols = [f"{symbol}-open" if case.censored else symbol for _, case in points]
    spots = [
        (
            value,
            case.margin,
            f"{case.case}, {name}: margin {margin_text(case)}, volume {short(case.volume_ml)} ml, "
            f"clean Dice {decimal(case.clean_dice)}",
        )
        for value, case in points
    ]
    ring = {"width": 1.5, "color": plot.colour(number)}
    return plot.dots(number, name, spots, marker_symbol=symbols, marker_line=ring)


def _correlation(points: _Points) -> str:
    """Rank correlation in words."""
    values = [value for value, _ in points]
    heights = [np.inf if case.censored else case.margin for _, case in points]
    if len(points) < _FEWEST:
        return f"not stated below {_FEWEST} cases"
    if len(set(values)) == 1 or len(set(heights)) == 1:
        return "undefined, all alike"
    return decimal(float(spearmanr(values, heights).statistic), 2)
