"""Paired differences between models: over the cases that both hold, case by case."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from imaseg.report.compare import RESAMPLES, at, clean_point, ladder, paired, strongest
from imaseg.report.numerals import bracket, decimal, short, signed
from imaseg.report.parts import Cell, Table, row
from imaseg.report.read import Audit
from imaseg.report.schema_base import Interval, _Part

_METRICS = {"dice": "Dice", "surface_dice": "surface Dice (1 voxel)", "hd95": "HD95 (mm)"}


class Difference(_Part):
    """`difference` is that of model `b` minus that of model `a`, over `n` shared cases."""

    probe: str
    eps: float
    metric: str
    a: str
    b: str
    difference: float | None
    n: int
    ci95: Interval = None
    p: float | None = None


def paired_rows(audits: Sequence[Audit]) -> list[dict[str, Any]]:
    """Dice of every further model minus the first one's: clean, and under the worst attacks at shared budgets."""
    reference, *others = audits
    found = []
    for other in others:
        pairs = [("clean", 0.0, clean_point(reference), clean_point(other))]
        for series in strongest(audits):
            pairs += [
                (series.probe, point.eps, at(reference, series, point.eps), point) for point in ladder(other, series)
            ]
        for probe, eps, before, after in pairs:
            change = paired(before, after)
            if change is not None:
                names = {"metric": "dice", "a": reference.name, "b": other.name}
                sizes = {"difference": change.mean, "ci95": change.ci95, "n": change.n}
                found.append({"probe": probe, "eps": eps, **names, **sizes})
    return found


def difference_table(rows: Iterable[Mapping[str, Any]]) -> Table | None:
    """A table of such rows, with p-values where any row has one; None without rows."""
    known = [Difference.model_validate(dict(one)) for one in rows]
    if not known:
        return None
    tested = any(one.p is not None for one in known)
    head = ["Models", "Probe", "eps", "Metric", "Difference [95 % CI]", "n", *(["p"] if tested else [])]
    caption = (
        "Paired differences over the cases that both models hold: mean over cases of the second model minus the "
        f"first, with a 95 % bootstrap interval ({RESAMPLES} resamples). An interval that does not hold 0 is marked *; "
        "none of this is corrected for the number of comparisons"
    )
    return Table(caption, head, [_row(one, tested) for one in known])


def _row(one: Difference, tested: bool) -> list[Cell]:
    low, high = one.ci95 or (None, None)
    apart = low is not None and high is not None and (low > 0 or high < 0)
    return row(
        f"{one.b} \N{MINUS SIGN} {one.a}",
        one.probe,
        short(one.eps) if one.eps else "0 (clean)",
        _METRICS.get(one.metric, one.metric.replace("_", " ")),
        Cell(signed(one.difference) + ("*" if apart else ""), bracket(one.ci95, sign=True)),
        str(one.n),
        *([_chance(one.p)] if tested else []),
    )


def _chance(value: float | None) -> str:
    if value is None:
        return "not tested"
    return "< 0.001" if value < 0.001 else decimal(value)
