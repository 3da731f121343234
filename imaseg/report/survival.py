"""Which share of the cases is still unbroken at a budget (Kaplan and Meier's estimate): figures of margins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import plotly.graph_objects as go
from scipy.stats import CensoredData, ecdf

from imaseg.report.blocks import Figure, Table, table
from imaseg.report.known import about_set
from imaseg.report.margin_sets import Question, quantile_text
from imaseg.report.numerals import decimal, listing, set_name, short, unit_name
from imaseg.report.style import plot
from imaseg.results.margin import CaseMargin, MarginEntry

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
    right = _right_end(lines)
    name, unit = set_name(question.perturbation), unit_name(question.unit)
    ceilings = listing([short(eps) for eps in sorted({line.entry.eps for line in lines})])
    said = "; ".join(
        f"{line.name}: median {quantile_text(line.entry)}, {line.entry.censored} of {line.entry.n} not broken"
        for line in lines
    )
    parts = [
        about_set(question.perturbation).meaning,
        f"Searched up to {ceilings} ({unit}).",
        f"Probe {question.probe}; criterion: {question.criterion}.",
        more,
    ]
    return plot.figure(
        key,
        title,
        [trace for line in lines for trace in _traces(line, right)],
        plot.axis(f"budget ({unit}, {name})", range=[0, 1.05 * right], nticks=7),
        plot.axis("still unbroken", range=[-0.03, 1.05], tickformat=".0%", dtick=0.25),
        caption=" ".join(part for part in parts if part),
        label=f"Step chart of the share of cases still unbroken against the budget in {unit}. {said}.",
        table=_table(lines, right, head, f"Share of cases still unbroken in the {name}, by budget in {unit}"),
        height=360,
    )


def _right_end(lines: Sequence[Line]) -> float:
    """At the ceiling if a case survived it, else a little beyond the largest margin."""
    cases = [case for line in lines for case in line.entry.per_case]
    ends = [case.eps if case.censored else 1.1 * case.margin for case in cases]
    return max(ends, default=0.0) or max((line.entry.eps for line in lines), default=1.0)


def _traces(line: Line, right: float) -> list[go.Scatter]:
    entry, ends = line.entry, line.ends
    share = unbroken(entry.per_case)
    budgets = share.quantiles.tolist()
    broken = [[case.case for case in entry.per_case if case.margin == b and not case.censored] for b in budgets]
    last = max([case.margin for case in ends], default=right)
    curve = plot.line(
        line.number,
        f"{line.name} (median {quantile_text(entry)}, {entry.censored} of {entry.n} not broken)",
        [0.0, *budgets, last],
        [1.0, *share.probabilities.tolist(), float(share.evaluate(last))],
        [
            "",
            *(f"{line.name}: {short(b)} breaks {', '.join(cases)}" for b, cases in zip(budgets, broken, strict=True)),
            "",
        ],
        width=3.5 if line.number == 0 else 2,
        step=True,
        sizes=[0, *(6 if cases else 0 for cases in broken), 0],
    )
    if not ends:
        return [curve]
    ceilings = sorted({case.margin for case in ends})
    marks = plot.dots(
        ceilings,
        [float(share.evaluate(ceiling)) for ceiling in ceilings],
        [
            f"{line.name}: unbroken up to {short(c)}: {', '.join(case.case for case in ends if case.margin == c)}"
            for c in ceilings
        ],
        {"size": 14, "symbol": "triangle-right-open", "color": plot.colour(line.number), "line": {"width": 2}},
        showlegend=False,
        legendgroup=str(line.number),
        cliponaxis=False,
    )
    return [curve, marks]


def _table(lines: Sequence[Line], right: float, head: str, caption: str) -> Table:
    """Shares at five budgets."""
    budgets = [right * share for share in _SHARES]
    return table(
        caption,
        [
            {head: line.name, "n": line.entry.n} | {f"at {short(budget)}": _share(line, budget) for budget in budgets}
            for line in lines
        ],
    )


def _share(line: Line, budget: float) -> str:
    last = max([case.margin for case in line.ends], default=float("inf"))
    if budget > last * (1 + 1e-9):
        return "not known"
    return decimal(float(unbroken(line.entry.per_case).evaluate(budget)), 2)
