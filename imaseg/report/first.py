"""Which cases fail first: by the budget that halves their Dice, with their margin and a way to their picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from imaseg.report.breaking import Break, breaks
from imaseg.report.compare import Series, ladder
from imaseg.report.numerals import decimal, set_name, short, unit_name
from imaseg.report.parts import Cell, Table, row
from imaseg.report.read import Audit

_AT_MOST = 10


def first_to_fail(audits: Sequence[Audit], series: Series | None, shown: Mapping[tuple[str, str], str]) -> Table | None:
    """The first cases of each model.

    Args:
        audits: what to show.
        series: the attack that halves.
        shown: anchor of the picture of a case, by model and case.

    Returns:
        The table; None if no attack was run.
    """
    if series is None:
        return None
    each = max(3, _AT_MOST // len(audits))
    rows = [
        _row(audit, series, place, one, shown.get((audit.name, one.case), ""))
        for audit in audits
        if ladder(audit, series)
        for place, one in enumerate(breaks(audit, series)[:each], start=1)
    ]
    caption = (
        f"The cases that fail first in the {set_name(series.perturbation)} (probe {series.probe}), by the budget in "
        f"{unit_name(series.unit)} at which their Dice is half of their own clean one, straight lines between the "
        "audited budgets"
    )
    head = ["Model", "Order", "Case", "Clean Dice", "Dice halves at", "Lowest Dice", "Margin", "Picture"]
    return Table(caption, head, rows)


def _row(audit: Audit, series: Series, place: int, one: Break, anchor: str) -> list[Cell]:
    return row(
        audit.name,
        str(place),
        one.case,
        decimal(one.clean),
        _halved(one, [point.eps for point in ladder(audit, series)]),
        decimal(one.lowest),
        _margin(audit, series, one.case),
        Cell("see picture", link=anchor) if anchor else Cell("not shown", missing=True),
    )


def _halved(one: Break, rungs: Sequence[float]) -> str:
    if one.eps is None:
        return f"above {short(rungs[-1])}"
    if one.eps == 0:
        return "0 (fails unattacked)"
    return short(one.eps) if one.eps >= rungs[0] else f"below {short(rungs[0])}"


def _margin(audit: Audit, series: Series, case: str) -> str:
    """The margin that was searched for in the same set and unit."""
    for margins in audit.summary.margins:
        if (margins.perturbation, margins.unit, margins.structure) == (series.perturbation, series.unit, None):
            for known in margins.per_case:
                if known.case == case and known.margin is not None:
                    return f"above {short(margins.eps)}" if known.censored else short(known.margin)
    return "not measured"
