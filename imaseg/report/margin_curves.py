"""Which share of the cases is still unbroken at a budget: one plot per set, the whole case and each structure in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import plotly.graph_objects as go

from imaseg.report import style
from imaseg.report.known import about_set
from imaseg.report.margin_read import Margins
from imaseg.report.margin_schema import WHOLE, Entry, Row
from imaseg.report.margin_tables import measured, quantile_text, structure_name
from imaseg.report.numerals import decimal, set_name, short, unit_name
from imaseg.report.parts import Figure, Table, row


class Drop(NamedTuple):
    """Where the curve of unbroken cases falls, or where cases leave it unbroken."""

    budget: float
    share: float
    cases: list[str]


def unbroken(rows: Sequence[tuple[str, Row]]) -> tuple[list[Drop], list[Drop]]:
    """Share of cases still unbroken, by budget (Kaplan and Meier's estimate).

    A case that nothing broke counts as unbroken up to its own ceiling and says nothing beyond.

    Returns:
        The falls in rising order of budget, each with the share after it; and where cases end unbroken.
    """
    falls: list[Drop] = []
    ends: list[Drop] = []
    share, left = 1.0, len(rows)
    for budget in sorted({one.margin for _, one in rows if one.margin is not None}):
        here = [(case, one.censored) for case, one in rows if one.margin == budget]
        broken, survived = ([case for case, out in here if out is kind] for kind in (False, True))
        if broken:
            share *= 1 - len(broken) / left
            falls.append(Drop(budget, share, broken))
        if survived:
            ends.append(Drop(budget, share, survived))
        left -= len(here)
    return falls, ends


def survival_figures(margins: Margins) -> list[Figure]:
    """One figure per set."""
    return [_figure(margins, entry) for entry in margins.run.sets]


def _figure(margins: Margins, whole: Entry) -> Figure:
    entries = margins.run.of(whole.perturbation)
    right = _right_end(margins, entries)
    name, unit = set_name(whole.perturbation), unit_name(whole.unit)
    across = style.axis(f"budget ({unit}, {name})", range=[0, 1.05 * right], nticks=7)
    up = style.axis("still unbroken", range=[-0.03, 1.05], tickformat=".0%", dtick=0.25)
    plot = go.Figure(layout=style.layout(340, across, up, legend=True))
    for place, entry in enumerate(entries):
        plot.add_traces(_traces(measured(margins, entry), place, entry, right))
    said = "; ".join(
        f"{entry.structure}: median {quantile_text(entry, 'median')}, {entry.censored} of {entry.n} unbroken at the end"
        for entry in entries
    )
    caption = f"{about_set(whole.perturbation).meaning} Searched up to {short(whole.eps)} ({unit}).".strip()
    label = f"Step chart of the share of cases still unbroken against the budget in {unit}. {said}."
    return Figure(
        f"unbroken-{whole.perturbation}",
        name[0].upper() + name[1:],
        caption,
        label,
        plot.to_plotly_json(),
        _table(margins, entries, right),
        large=True,
    )


def _right_end(margins: Margins, entries: Sequence[Entry]) -> float:
    """At the ceiling if a case survived it, else a little beyond the largest margin."""
    rows = [one for entry in entries for _, one in measured(margins, entry)]
    ceilings = [one.eps for one in rows if one.censored]
    broken = [1.1 * one.margin for one in rows if one.margin is not None and not one.censored]
    return max([*ceilings, *broken], default=0.0) or entries[0].eps


def _traces(rows: Sequence[tuple[str, Row]], place: int, entry: Entry, right: float) -> list[go.Scatter]:
    falls, ends = unbroken(rows)
    last = max([drop.budget for drop in ends], default=right)
    look = {"color": style.colour(place), "symbol": style.symbol(place)}
    left = f" ({entry.censored} of {entry.n} unbroken)" if entry.censored else ""
    curve = go.Scatter(
        x=[0.0, *(drop.budget for drop in falls), last],
        y=[1.0, *(drop.share for drop in falls), falls[-1].share if falls else 1.0],
        mode="lines+markers",
        name=style.literal(f"{structure_name(entry.structure)}{left}"),
        line={
            "color": style.colour(place),
            "width": 3.5 if entry.structure == WHOLE else 2,
            "dash": style.dash(place),
            "shape": "hv",
        },
        marker={"size": [0, *[6] * len(falls), 0], **look},
        text=[
            "",
            *(
                f"{structure_name(entry.structure)}: {short(d.budget)} breaks {style.literal(', '.join(d.cases))}"
                for d in falls
            ),
            "",
        ],
        hoverinfo="text",
        legendgroup=str(place),
    )
    if not ends:
        return [curve]
    marks = go.Scatter(
        x=[drop.budget for drop in ends],
        y=[drop.share for drop in ends],
        mode="markers",
        marker={"size": 14, "symbol": "triangle-right-open", "color": style.colour(place), "line": {"width": 2}},
        hovertext=[
            f"{structure_name(entry.structure)}: unbroken up to {short(d.budget)}: {style.literal(', '.join(d.cases))}"
            for d in ends
        ],
        hoverinfo="text",
        showlegend=False,
        legendgroup=str(place),
        cliponaxis=False,
    )
    return [curve, marks]


def _table(margins: Margins, entries: Sequence[Entry], right: float) -> Table:
    """Shares at five budgets."""
    budgets = [right * share for share in (0.1, 0.25, 0.5, 0.75, 1.0)]
    rows = []
    for entry in entries:
        falls, ends = unbroken(measured(margins, entry))
        last = max([drop.budget for drop in ends], default=float("inf"))
        shares = [
            "not known"
            if budget > last * (1 + 1e-9)
            else decimal(min([1.0, *(d.share for d in falls if d.budget <= budget)]), 2)
            for budget in budgets
        ]
        rows.append(row(structure_name(entry.structure), str(entry.n), *shares))
    caption = (
        f"Share of cases still unbroken in the {set_name(entries[0].perturbation)}, by budget in "
        f"{unit_name(entries[0].unit)}"
    )
    return Table(caption, ["Structure", "n", *(f"at {short(budget)}" for budget in budgets)], rows)
