"""Margin of each structure against its volume and its clean Dice: which kind of case breaks first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go
from scipy.stats import spearmanr

from imaseg.report import style
from imaseg.report.margin_read import Margins
from imaseg.report.margin_schema import WHOLE, CaseMargins, Entry, Row
from imaseg.report.margin_tables import margin_text, structure_name
from imaseg.report.numerals import decimal, set_name, short, unit_name
from imaseg.report.parts import Figure, Table, row

_FEWEST = 5
"""Cases below which a rank correlation says nothing."""


class _Against(NamedTuple):
    """What margins are drawn against."""

    key: str
    title: str
    axis: str
    field: str


_AXES = (
    _Against("volume", "volume", "volume in the label (ml)", "volume_ml"),
    _Against("dice", "clean Dice", "Dice on the unchanged image", "clean_dice"),
)


def scatter_figures(margins: Margins) -> list[Figure]:
    """Two figures per set: against volume, against clean Dice."""
    return [_figure(margins, entry, against) for entry in margins.run.sets for against in _AXES]


def _figure(margins: Margins, whole: Entry, against: _Against) -> Figure:
    entries = [entry for entry in margins.run.of(whole.perturbation) if entry.structure != WHOLE]
    points = [(entry, _points(margins.cases, entry)) for entry in entries]
    name, unit = set_name(whole.perturbation), unit_name(whole.unit)
    up = style.axis(f"margin ({unit})", rangemode="tozero", nticks=6)
    plot = go.Figure(layout=style.layout(300, style.axis(against.axis, nticks=6), up, legend=True))
    for place, (entry, found) in enumerate(points, start=1):
        plot.add_trace(_dots(entry, found, place, against))
    correlations = [(structure_name(entry.structure), *_correlation(found, against)) for entry, found in points]
    said = "; ".join(f"{name}: rank correlation {text}" for name, text, _ in correlations)
    caption = f"Rank correlation: {_short(correlations)}."
    label = f"Scatter chart of margins in the {name} against {against.title}, one point per case. {said}."
    table = Table(
        f"Rank correlation of margin in the {name} and {against.title}; unbroken cases share the highest rank",
        ["Structure", "Spearman's rho", "n"],
        [row(*correlation) for correlation in correlations],
    )
    title = f"{name[0].upper() + name[1:]}: margin against {against.title}"
    return Figure(f"{against.key}-{whole.perturbation}", title, caption, label, plot.to_plotly_json(), table)


def _short(correlations: Sequence[tuple[str, str, str]]) -> str:
    return "; ".join(f"{name} {text} (n = {n})" for name, text, n in correlations)


def _points(cases: Sequence[CaseMargins], entry: Entry) -> list[tuple[CaseMargins, Row]]:
    found = ((case, case.row(entry.perturbation, entry.structure)) for case in cases)
    return [(case, one) for case, one in found if one is not None and one.margin is not None]


def _value(case: CaseMargins, one: Row, against: _Against) -> float:
    return float(getattr(case.structures[one.structure], against.field))


def _dots(entry: Entry, found: Sequence[tuple[CaseMargins, Row]], place: int, against: _Against) -> go.Scatter:
    symbol = style.symbol(place)
    return go.Scatter(
        x=[_value(case, one, against) for case, one in found],
        y=[one.margin for _, one in found],
        mode="markers",
        name=style.literal(entry.structure),
        marker={
            "size": 9,
            "color": style.colour(place),
            "symbol": [f"{symbol}-open" if one.censored else symbol for _, one in found],
            "line": {"width": 1.5, "color": style.colour(place)},
        },
        text=[
            f"{style.literal(case.case)}, {style.literal(entry.structure)}: margin {margin_text(one)}, "
            f"volume {short(case.structures[one.structure].volume_ml)} ml, "
            f"clean Dice {decimal(case.structures[one.structure].clean_dice)}"
            for case, one in found
        ],
        hoverinfo="text",
    )


def _correlation(found: Sequence[tuple[CaseMargins, Row]], against: _Against) -> tuple[str, str]:
    """Rank correlation in words, and the number of cases."""
    values = [_value(case, one, against) for case, one in found]
    heights = [np.inf if one.censored else one.margin for _, one in found]
    if len(found) < _FEWEST:
        return f"not stated below {_FEWEST} cases", str(len(found))
    if len(set(values)) == 1 or len(set(heights)) == 1:
        return "undefined, all alike", str(len(found))
    return decimal(float(spearmanr(values, heights).statistic), 2), str(len(found))
