"""Margin distribution: which share of the cases is still unbroken at a budget, and how many never broke."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import plotly.graph_objects as go

from imaseg.report import style
from imaseg.report.breaking import native
from imaseg.report.numerals import ADDED, bracket, listing, set_name, short, unit_name
from imaseg.report.parts import Cell, Figure, Table, row
from imaseg.report.read import Audit
from imaseg.report.schema import Margins


class Question(NamedTuple):
    """What must agree before two margins may be compared."""

    structure: str | None
    probe: str
    perturbation: str
    unit: str
    criterion: str


def margin_figures(audits: Sequence[Audit]) -> list[Figure]:
    """One figure per perturbation set and criterion, all models in it."""
    groups: dict[Question, list[tuple[int, Margins]]] = {}
    for model, audit in enumerate(audits):
        for margins in audit.summary.margins:
            key = Question(margins.structure, margins.probe, margins.perturbation, margins.unit, margins.criterion)
            groups.setdefault(key, []).append((model, margins))
    whole_first = sorted(groups.items(), key=lambda group: group[0].structure is not None)
    return [_figure(place, key, found, audits) for place, (key, found) in enumerate(whole_first)]


def median_text(margins: Margins) -> str:
    """Median margin, or the search limit it is known to exceed when half of the cases or more never broke."""
    if 2 * margins.censored > margins.n:
        return f"above {short(margins.eps)}"
    bound = "at least " if margins.censored and 2 * margins.censored == margins.n else ""
    return bound + short(margins.median)


def _figure(place: int, key: Question, found: list[tuple[int, Margins]], audits: Sequence[Audit]) -> Figure:
    right = _right_end([margins for _, margins in found])
    across = style.axis(
        f"budget ({unit_name(key.unit)}, {set_name(key.perturbation)})", range=[0, 1.05 * right], nticks=7
    )
    up = style.axis("still unbroken", range=[-0.03, 1.05], tickformat=".0%", dtick=0.25)
    plot = go.Figure(layout=style.layout(380, across, up, legend=True))
    for model, margins in found:
        plot.add_traces(_steps(margins, model, audits[model].name, right))
    missing = [audit.name for model, audit in enumerate(audits) if model not in {number for number, _ in found}]
    caption = (
        f"Probe {key.probe}. A margin is the smallest budget found in the "
        f"{set_name(key.perturbation)} that meets the "
        f"criterion: {key.criterion}. The further right a curve falls, the better. Open triangles: "
        f"cases that no budget up "
        "to the search limit broke; their margin is at least that limit (censored). A case that meets "
        "the criterion unattacked has margin 0."
    )
    if missing:
        caption += f" No margins with this criterion: {listing(missing)}."
    said = [
        f"{audits[model].name}: median {median_text(margins)}, {margins.censored} of {margins.n} not broken"
        for model, margins in found
    ]
    label = f"Step chart of the share of cases still unbroken, by budget in {unit_name(key.unit)}. {'; '.join(said)}."
    of = f" of {key.structure}" if key.structure else ""
    title = f"Margins{of} in the {set_name(key.perturbation)}: {key.criterion}"
    table = _table(key, [(audits[model], margins) for model, margins in found])
    return Figure(f"margin-{place}", title, caption, label, plot.to_plotly_json(), table)


def _right_end(found: list[Margins]) -> float:
    """Where the axis ends: at the search limit if a case never broke, else a little beyond the largest margin."""
    limits = [margins.eps for margins in found if margins.censored]
    broken = [case.margin for margins in found for case in margins.per_case if case.margin and not case.censored]
    return max([*limits, 1.1 * max(broken, default=0.0)]) or max(margins.eps for margins in found)


def _steps(margins: Margins, model: int, name: str, right: float) -> list[Any]:
    known = [case for case in margins.per_case if case.margin is not None]
    broken = sorted((case for case in known if not case.censored), key=lambda case: case.margin or 0.0)
    total = max(len(known), 1)
    shares = [1 - place / total for place in range(1, len(broken) + 1)]
    height = shares[-1] if shares else 1.0
    never = sum(case.censored for case in known)
    curve = go.Scatter(
        x=[0.0, *(case.margin for case in broken), margins.eps if never else right],
        y=[1.0, *shares, height],
        mode="lines+markers",
        name=style.literal(f"{name} (median {median_text(margins)}, {never} of {len(known)} not broken)"),
        line={"color": style.colour(model), "width": 2.5, "dash": style.dash(model), "shape": "hv"},
        marker={"size": [0, *[6] * len(broken), 0], "color": style.colour(model), "symbol": style.symbol(model)},
        text=["", *(f"{style.literal(case.case)}: margin {short(case.margin)}" for case in broken), ""],
        hoverinfo="text",
        legendgroup=str(model),
    )
    return [curve, _unbroken(margins, model, name, height)] if never else [curve]


def _unbroken(margins: Margins, model: int, name: str, height: float) -> go.Scatter:
    cases = [style.literal(case.case) for case in margins.per_case if case.censored]
    return go.Scatter(
        x=[margins.eps],
        y=[height],
        mode="markers",
        marker={"size": 14, "symbol": "triangle-right-open", "color": style.colour(model), "line": {"width": 2}},
        hovertext=[f"{style.literal(name)}: not broken up to {short(margins.eps)}: {', '.join(cases)}"],
        hoverinfo="text",
        showlegend=False,
        legendgroup=str(model),
        cliponaxis=False,
    )


def _table(key: Question, found: list[tuple[Audit, Margins]]) -> Table:
    rows = [
        row(
            audit.name,
            Cell(median_text(margins), bracket_margin(margins)),
            _native(audit, margins),
            f"{margins.censored} of {margins.n}",
            short(margins.eps),
            f"{short(100 * margins.rtol)} %" if margins.rtol is not None else "not recorded",
        )
        for audit, margins in found
    ]
    caption = (
        f"Margins in {unit_name(key.unit)} ({set_name(key.perturbation)}, probe {key.probe}); "
        f"criterion: {key.criterion}"
    )
    head = ["Model", "Median [95 % CI]", "Median, image's units", "Not broken (censored)", "Search limit", "Tolerance"]
    return Table(caption, head, rows)


def _native(audit: Audit, margins: Margins) -> str:
    """The median in the image's own units, at the median case."""
    span = native(audit, margins.unit, margins.median) if margins.median is not None else None
    if span is None:
        return "no intensity" if margins.unit not in ADDED else "not recorded"
    return f"{'above ' if 2 * margins.censored > margins.n else ''}{short(span.median)}"


def bracket_margin(margins: Margins) -> str:
    """Interval of the median in significant digits; an end beyond the search limit is written as such."""
    if margins.median_ci95 is None:
        return bracket(None)
    low, high = (
        f"above {short(margins.eps)}" if end is None or end >= margins.eps else short(end)
        for end in margins.median_ci95
    )
    return f"[{low}, {high}]"
