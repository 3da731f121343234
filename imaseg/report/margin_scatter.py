"""Margin of each structure against its volume and its clean Dice: which kind of case breaks first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import spearmanr

from imaseg.report.blocks import Figure, table
from imaseg.report.margin_sets import MarginSet, margin_text, structure_name
from imaseg.report.numerals import decimal, set_name, short, unit_name
from imaseg.report.style import plot
from imaseg.results.margin import CaseMargin, MarginEntry

_FEWEST = 5
"""Cases below which a rank correlation says nothing."""


class _Against(NamedTuple):
    """What margins are drawn against."""

    field: str
    title: str
    axis: str


_AXES = (
    _Against("volume_ml", "volume", "volume in the label (ml)"),
    _Against("clean_dice", "clean Dice", "Dice on the unchanged image"),
)


def scatter_figures(margins: MarginSet) -> list[Figure]:
    """Two figures: against volume, against clean Dice."""
    return [_figure(margins, against) for against in _AXES]


def _figure(margins: MarginSet, against: _Against) -> Figure:
    entries = [entry for entry in margins.entries if entry.structure is not None] or margins.entries
    name, unit = set_name(margins.question.perturbation), unit_name(margins.question.unit)
    correlations = [(structure_name(entry.structure), *_correlation(entry, against)) for entry in entries]
    said = "; ".join(f"{structure} {text} (n = {n})" for structure, text, n in correlations)
    numbers = table(
        f"Rank correlation of margin in the {name} and {against.title}; unbroken cases share the highest rank",
        [{"Structure": structure, "Spearman's rho": text, "n": n} for structure, text, n in correlations],
    )
    return plot.figure(
        f"{against.field}-{margins.question.probe}",
        f"{name}: margin against {against.title}",
        [_dots(number, entry, against) for number, entry in enumerate(entries, start=1)],
        plot.axis(against.axis, nticks=6),
        plot.axis(f"margin ({unit})", rangemode="tozero", nticks=6),
        caption=f"Rank correlation: {said}.",
        label=(
            f"Scatter chart of margins in the {name} against {against.title}, one point per case. Rank correlations: "
            f"{said}."
        ),
        table=numbers,
    )


def _points(entry: MarginEntry, against: _Against) -> list[tuple[float, CaseMargin]]:
    values = [(getattr(case, against.field), case) for case in entry.per_case]
    return [(value, case) for value, case in values if value is not None]


def _dots(number: int, entry: MarginEntry, against: _Against) -> Any:
    points, symbol, name = _points(entry, against), plot.symbol(number), structure_name(entry.structure)
    marker = {
        "size": 9,
        "color": plot.colour(number),
        "symbol": [f"{symbol}-open" if case.censored else symbol for _, case in points],
        "line": {"width": 1.5, "color": plot.colour(number)},
    }
    said = [
        f"{case.case}, {name}: margin {margin_text(case)}, volume {short(case.volume_ml)} ml, "
        f"clean Dice {decimal(case.clean_dice)}"
        for _, case in points
    ]
    margins = [case.margin for _, case in points]
    return plot.dots([value for value, _ in points], margins, said, marker, name=plot.literal(name), showlegend=True)


def _correlation(entry: MarginEntry, against: _Against) -> tuple[str, str]:
    """Rank correlation in words, and the number of cases."""
    points = _points(entry, against)
    values: Sequence[float] = [value for value, _ in points]
    heights = [np.inf if case.censored else case.margin for _, case in points]
    if len(points) < _FEWEST:
        return f"not stated below {_FEWEST} cases", str(len(points))
    if len(set(values)) == 1 or len(set(heights)) == 1:
        return "undefined, all alike", str(len(points))
    return decimal(float(spearmanr(values, heights).statistic), 2), str(len(points))
