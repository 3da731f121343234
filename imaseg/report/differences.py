"""Paired differences between models: over the cases that both hold, case by case."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from imaseg.data.files import read_json
from imaseg.report.compare import strongest
from imaseg.report.metrics import METRICS
from imaseg.report.numerals import bracket, decimal, short, signed
from imaseg.report.parts import Cell, Table, row
from imaseg.report.read import Audit
from imaseg.report.schema_base import Interval, _Part
from imaseg.statistics import paired

_NAMES = {one.name: one.head for one in METRICS}
_TEST = (
    "p: two-sided Wilcoxon signed-rank test, adjusted by Holm's method over the rows of a metric. Marked *: p below "
    "0.05, which few cases cannot reach whatever they show"
)
_LEVEL = 0.05


class Difference(_Part):
    """`difference` is that of model `b` minus that of model `a`, over `n` shared cases."""

    probe: str
    eps: float
    unit: str = ""
    metric: str
    a: str
    b: str
    difference: float | None
    n: int
    ci95: Interval = None
    p: float | None = None


def paired_rows(audits: Sequence[Audit]) -> list[dict[str, Any]]:
    """Every further model against the first one, as `imaseg.statistics.paired` finds them."""
    reference, *others = [(audit.name, read_json(audit.folder / "summary.json")) for audit in audits]
    return [row for name, summary in others for row in paired(reference[1], summary, names=(reference[0], name))]


def main_rows(audits: Sequence[Audit], rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those about Dice: on unchanged images, under the worst attacks, under corruptions at the highest severity."""
    shown = {"clean", *(series.probe for series in strongest(audits))}
    last = max((one.severity for audit in audits for one in audit.summary.corruptions), default=0)
    return [
        one
        for one in rows
        if one["metric"] == "dice" and (one["probe"] in shown or (one.get("unit") == "severity" and one["eps"] == last))
    ]


def difference_table(rows: Iterable[Mapping[str, Any]]) -> Table | None:
    """A table of such rows, with p-values where any row has one; None without rows."""
    known = [Difference.model_validate(dict(one)) for one in rows]
    if not known:
        return None
    tested = any(one.p is not None for one in known)
    head = ["Models", "Probe", "eps", "Metric", "Difference [95 % CI]", "n", *(["p"] if tested else [])]
    caption = (
        "Paired differences over the cases that both models hold: mean over cases of the second model minus the first, "
        "with a 95 % bootstrap interval, not corrected for the number of rows. "
        + (_TEST if tested else "Marked *: the interval does not hold 0")
    )
    return Table(caption, head, [_row(one, tested) for one in known])


def _row(one: Difference, tested: bool) -> list[Cell]:
    low, high = one.ci95 or (None, None)
    apart = low is not None and high is not None and (low > 0 or high < 0)
    if tested:
        apart = one.p is not None and one.p < _LEVEL
    return row(
        f"{one.b} \N{MINUS SIGN} {one.a}",
        one.probe,
        _budget(one),
        _NAMES.get(one.metric, one.metric.replace("_", " ")),
        Cell(signed(one.difference) + ("*" if apart else ""), bracket(one.ci95, sign=True)),
        str(one.n),
        *([_chance(one.p)] if tested else []),
    )


def _budget(one: Difference) -> str:
    if one.unit == "severity":
        return f"severity {one.eps:g}"
    return short(one.eps) if one.eps else "0 (clean)"


def _chance(value: float | None) -> str:
    if value is None:
        return "not tested"
    return "< 0.001" if value < 0.001 else decimal(value)
