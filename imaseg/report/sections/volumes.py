"""Volumes on unchanged against changed images: bias and limits of agreement (Bland and Altman)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import plotly.graph_objects as go

from imaseg.errors import InputError
from imaseg.report import plot
from imaseg.report.audits import Audit, Audits, model_column
from imaseg.report.blocks import MISSING, Block, Cell, Figure, Grid, Section, Table, table
from imaseg.report.changes import changes
from imaseg.report.compare import Series, at, main_series, telling
from imaseg.report.intervals import over
from imaseg.report.wording import NO_INTERVAL, amount, bracket, decimal
from imaseg.results.base import CaseScores
from imaseg.results.summary import VolumeChange

_MOST = 3
"""Structures that are shown."""
_LEAD = (
    "How much the predicted volume of a structure moves where an image is changed: the mean difference over cases "
    "(bias) and the range that holds 95 of 100 differences (limits of agreement: bias less and plus 1.96 standard "
    "deviations). A bias near 0 with wide limits means that volumes of single cases cannot be trusted."
)
_LINES = "bias; dotted: limits of agreement."
_MOVED = "Where the label moves with the image, what it gains or loses itself does not count."


def build(audits: Audits) -> Section | None:
    """Nothing where no audit holds such figures."""
    held = [audit for audit in audits if audit.summary.volume_changes]
    if not held:
        return None
    every = list(dict.fromkeys(one.structure for audit in held for one in audit.summary.volume_changes))
    shown = _most_moved(held, every)
    left = f" Shown: the {len(shown)} of {len(every)} structures that move most." if len(shown) < len(every) else ""
    figures: list[Block] = [*_figures(audits, held, shown)]
    return Section(
        125,
        "volume-changes",
        "Volumes, unchanged against changed images",
        [*([Grid(figures, "small fill")] if figures else []), _table(audits, held, shown)],
        f"{_LEAD} {_MOVED}{left}",
        "Volumes",
        methods=["Predicted volumes on unchanged and on changed images were compared as by Bland and Altman (1986)."],
        works=["agreement"],
    )


def _most_moved(held: Audits, every: Sequence[str]) -> list[str]:
    """Structures whose mean volume moves most under any change, in the order of their numbers."""
    moved = {
        k: max(abs(one.bias_ml) for audit in held for one in audit.summary.volume_changes if one.structure == k)
        for k in every
    }
    chosen = sorted(every, key=lambda k: -moved[k])[:_MOST]
    return [k for k in every if k in chosen]


def _found(audit: Audit, structure: str, probe: str, eps: float) -> VolumeChange | None:
    wanted = (structure, probe, eps)
    return next((one for one in audit.summary.volume_changes if (one.structure, one.probe, one.eps) == wanted), None)


def _table(audits: Audits, held: Audits, shown: Sequence[str]) -> Table:
    rows = [
        {
            "Images": change.name,
            **model_column(audits, audit),
            "n": max((one.n for one in found if one is not None), default=0),
            **{f"{audit.structure(k)} (ml)": _cell(one) for k, one in zip(shown, found, strict=True)},
        }
        for audit in held
        for change in changes(audits, audit, budgets=False)
        for found in [[_found(audit, k, change.probe, change.eps) for k in shown]]
    ]
    return table(
        f"Bias of the predicted volume with its 95 % interval over {over(held)}, and limits of agreement over n cases: "
        "strongest attacks at the budget at which models are compared, and corruptions at the highest severity",
        rows,
    )


def _cell(one: VolumeChange | None) -> Cell:
    if one is None:
        return MISSING
    if one.limits_ml is None:
        return Cell(decimal(one.bias_ml, sign=True), NO_INTERVAL)
    low, high = (decimal(end, sign=True) for end in one.limits_ml)
    return Cell(decimal(one.bias_ml, sign=True), f"{bracket(one.ci95, sign=True)}, limits {low} to {high}")


def _figures(audits: Audits, held: Audits, shown: Sequence[str]) -> list[Figure]:
    """One per structure, under the attack of the pictures at the budget at which models are compared."""
    series = main_series(audits)
    eps = telling(audits, series) if series else None
    if series is None or eps is None:
        return []
    drawn = []
    for number, structure in enumerate(shown):
        clouds = [_Cloud.of(audits, audit, structure, series, eps) for audit in held]
        if there := [cloud for cloud in clouds if cloud is not None]:
            drawn.append(
                _figure(
                    f"volume-changes-{number}", held[0].structure(structure), there, series, amount(eps, series.unit)
                )
            )
    return drawn


class _Cloud(NamedTuple):
    """Mean, difference and name of each case of one model, its number and name, and the figures over them."""

    number: int
    model: str
    spots: list[tuple[float, float, str]]
    figures: VolumeChange

    @classmethod
    def of(cls, audits: Audits, audit: Audit, structure: str, series: Series, eps: float) -> _Cloud | None:
        """None where the audit does not hold it, or came without the files of its cases."""
        point, figures = at(audit, series, eps), _found(audit, structure, series.probe, eps)
        if point is None or figures is None:
            return None
        try:
            real = {record.case: record.volumes[structure] for record in audit.cases}
        except InputError:
            return None
        before, after = (_errors(cases, structure) for cases in (audit.summary.metric_per_case, point.cases))
        both = {case: error for case, error in after.items() if case in real and case in before}
        spots = [(real[case] + (before[case] + error) / 2, error - before[case], case) for case, error in both.items()]
        return cls([one.name for one in audits].index(audit.name), audit.name, spots, figures) if spots else None

    def traces(self) -> Iterator[go.Scatter]:
        """Cases as points, bias and limits as lines across them."""
        said = [(x, y, f"{case}: {decimal(y, sign=True)} ml") for x, y, case in self.spots]
        yield plot.dots(self.number, self.model, said, size=8)
        ends = [end(x for x, _, _ in self.spots) for end in (min, max)]
        for level, dash in ((self.figures.bias_ml, "solid"), *((end, "dot") for end in self.figures.limits_ml or ())):
            drawn = {"color": plot.colour(self.number), "dash": dash, "width": 2}
            yield plot.dots(self.number, "", [(x, level, "") for x in ends], mode="lines", line=drawn, hoverinfo="skip")


def _errors(cases: Sequence[CaseScores], structure: str) -> dict[str, float]:
    return {one.case: one.metrics[structure]["volume_error"] or 0.0 for one in cases}


def _figure(key: str, name: str, clouds: Sequence[_Cloud], series: Series, budget: str) -> Figure:
    said = "; ".join(f"{cloud.model}: bias {decimal(cloud.figures.bias_ml, sign=True)} ml" for cloud in clouds)
    rows = [
        {"Model": cloud.model, "Case": case, "Mean (ml)": decimal(x), "Difference (ml)": decimal(y, sign=True)}
        for cloud in clouds
        for x, y, case in cloud.spots
    ]
    return plot.figure(
        key,
        f"{name}, {series.set}, eps {budget}",
        [trace for cloud in clouds for trace in cloud.traces()],
        plot.axis("mean of both volumes (ml)", nticks=6),
        plot.axis("changed less unchanged (ml)", nticks=6),
        caption=[f"Attack: {series.title} (probe {series.probe}) at {budget}. Points: cases. Lines: {_LINES}"],
        label=f"Bland-Altman plot of the predicted volume of {name} under {series.title}. {said}.",
        table=table(f"Predicted volume of {name}: mean over unchanged and changed image, and difference", rows),
    )
