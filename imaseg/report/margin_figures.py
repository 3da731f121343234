"""Figures of margins: which share of the cases is still unbroken at a budget, and which kind of case breaks first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go
from scipy.stats import CensoredData, ecdf, spearmanr

from imaseg.report import plot
from imaseg.report.blocks import Figure, Table, table
from imaseg.report.margin_sets import MarginSet, Question
from imaseg.report.margin_words import margin_text, quantile_text, structure_name
from imaseg.report.wording import decimal, listing, set_meaning, short, unit_name
from imaseg.results.margin import CaseMargin, MarginEntry

_FEWEST = 5
"""Cases below which a rank correlation says nothing."""
_Points = list[tuple[float, CaseMargin]]
_SHARES = (0.1, 0.25, 0.5, 0.75, 1.0)


class Line(NamedTuple):
    """Margins under the name that they have in the figure."""

    number: int
    name: str
    entry: MarginEntry

    @property
    def ends(self) -> list[CaseMargin]:
        """Cases that nothing broke."""
        return [case for case in self.entry.per_case if case.censored]

    @property
    def said(self) -> str:
        """Its median, and how many cases nothing broke."""
        return f"median {quantile_text(self.entry)}, {self.entry.censored} of {self.entry.n} not broken"


def unbroken(cases: Sequence[CaseMargin]) -> Any:
    """Share of cases still unbroken, as SciPy has such functions: `quantiles`, `probabilities`, `evaluate`.

    A case that nothing broke counts as unbroken up to its own ceiling and says nothing beyond.
    """
    broken, standing = ([case.margin for case in cases if case.censored is kind] for kind in (False, True))
    return ecdf(CensoredData(uncensored=broken, right=standing)).sf


def survival_figure(key: str, title: str, head: str, question: Question, lines: Sequence[Line], more: str) -> Figure:
    """One figure.

    Args:
        key: its anchor.
        title: above it.
        head: of the first column of its table, which names the lines.
        question: that the margins answer.
        lines: one per structure or model.
        more: the end of the caption.
    """
    lines = [line for line in lines if line.entry.n]
    right, unit = _right_end(lines), unit_name(question.unit)
    ceilings = listing(short(eps) for eps in sorted({line.entry.eps for line in lines}))
    said = "; ".join(f"{line.name}: {line.said}" for line in lines)
    return plot.figure(
        key,
        title,
        [trace for line in lines for trace in _traces(line, right)],
        plot.axis(f"budget ({unit}, {question.set})", range=[0, 1.05 * right], nticks=7),
        plot.axis("still unbroken", range=[-0.03, 1.05], tickformat=".0%", dtick=0.25),
        caption=[
            set_meaning(question.perturbation, question.within),
            f"Searched up to {ceilings} ({unit}).",
            f"Probe {question.probe}; criterion: {question.criterion}.",
            more,
        ],
        label=f"Step chart of the share of cases still unbroken against the budget in {unit}. {said}.",
        table=_table(lines, right, head, f"Share of cases still unbroken in the {question.set}, by budget in {unit}"),
        height=360,
    )


def _right_end(lines: Sequence[Line]) -> float:
    """At the ceiling if a case survived it, else a little beyond the largest margin."""
    cases = [case for line in lines for case in line.entry.per_case]
    ends = [case.eps if case.censored else 1.1 * case.margin for case in cases]
    return max(ends, default=0.0) or max((line.entry.eps for line in lines), default=1.0)


def _traces(line: Line, right: float) -> Iterator[go.Scatter]:
    """The curve, and a mark wherever cases leave it unbroken."""
    share, name = unbroken(line.entry.per_case), line.name
    last = max([case.margin for case in line.ends], default=right)
    spots, sizes = [(0.0, 1.0, "")], [0]
    for budget, probability in zip(share.quantiles.tolist(), share.probabilities.tolist(), strict=True):
        broken = [case.case for case in line.entry.per_case if case.margin == budget and not case.censored]
        spots.append((budget, probability, f"{name}: {short(budget)} breaks {', '.join(broken)}"))
        sizes.append(6 if broken else 0)
    spots.append((last, float(share.evaluate(last)), ""))
    width = 3.5 if line.number == 0 else 2
    yield plot.line(line.number, f"{name} ({line.said})", spots, width=width, line_shape="hv", size=[*sizes, 0])
    ceilings = {end.margin: [case.case for case in line.ends if case.margin == end.margin] for end in line.ends}
    marks = [
        (ceiling, float(share.evaluate(ceiling)), f"{name}: unbroken up to {short(ceiling)}: {', '.join(cases)}")
        for ceiling, cases in sorted(ceilings.items())
    ]
    if marks:
        drawn = {"marker_symbol": "triangle-right-open", "marker_line_width": 2, "cliponaxis": False}
        yield plot.dots(line.number, "", marks, size=14, **drawn)


def _table(lines: Sequence[Line], right: float, head: str, caption: str) -> Table:
    """Shares at five budgets."""
    budgets = [right * share for share in _SHARES]
    shares = [{f"at {short(budget)}": _share(line, budget) for budget in budgets} for line in lines]
    rows = [{head: line.name, "n": line.entry.n, **cells} for line, cells in zip(lines, shares, strict=True)]
    return table(caption, rows)


def _share(line: Line, budget: float) -> str:
    last = max([case.margin for case in line.ends], default=float("inf"))
    if budget > last * (1 + 1e-9):
        return "not known"
    return decimal(float(unbroken(line.entry.per_case).evaluate(budget)), 2)


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
