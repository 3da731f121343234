"""At which budget Dice halves, of a model and of each case, read off the ladder between the rungs around it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from imaseg.report.compare import Series, clean_point, ladder
from imaseg.report.numerals import ADDED, short, unit_name
from imaseg.report.read import Audit
from imaseg.report.schema_base import Span


class Break(NamedTuple):
    """A case and the budget at which its Dice is half of its clean one; None if no audited budget halves it."""

    case: str
    clean: float
    eps: float | None
    lowest: float


def crossing(eps: Sequence[float], dice: Sequence[float | None], level: float) -> float | None:
    """The first budget at which Dice is at `level` or below, straight lines between the rungs; None if there is none.

    >>> crossing([0.0, 0.1, 0.2], [0.8, 0.6, 0.2], 0.4), crossing([0.0, 0.1], [0.8, 0.7], 0.4)
    (0.15, None)
    """
    known = [(x, y) for x, y in zip(eps, dice, strict=True) if y is not None]
    for place, (x, y) in enumerate(known):
        if y <= level:
            if place == 0:
                return x
            before, above = known[place - 1]
            return before + (x - before) * (above - level) / (above - y)
    return None


def halves_at(audit: Audit, series: Series) -> float | None:
    """The budget at which the mean Dice is half of the clean one; None if no audited budget halves it."""
    points = [clean_point(audit), *ladder(audit, series)]
    clean = points[0].dice
    if clean is None:
        return None
    return crossing([point.eps for point in points], [point.dice for point in points], clean / 2)


def breaks(audit: Audit, series: Series) -> list[Break]:
    """Every case, the first to break first; those that no budget halves last, by their lowest Dice."""
    points = ladder(audit, series)
    by_eps = [{case.case: case.dice for case in point.cases} for point in points]
    found = []
    for case in clean_point(audit).cases:
        if case.dice is None:
            continue
        dice = [case.dice, *(rung.get(case.case) for rung in by_eps)]
        eps = crossing([0.0, *(point.eps for point in points)], dice, case.dice / 2)
        found.append(Break(case.case, case.dice, eps, min(value for value in dice if value is not None)))
    return sorted(found, key=lambda one: (one.eps is None, one.eps or 0.0, one.lowest, one.case))


def native(audit: Audit, unit: str, eps: float) -> Span | None:
    """A budget in the image's own units; None where it is no intensity, or was not recorded."""
    for probe in audit.summary.probes if unit in ADDED else []:
        span = probe.eps_native
        if probe.unit == unit and probe.eps > 0 and span is not None and span.median is not None:
            ends = [None if end is None else end * eps / probe.eps for end in (span.median, span.min, span.max)]
            return Span(median=ends[0], min=ends[1], max=ends[2])
    return None


def budget_text(audit: Audit, unit: str, eps: float) -> str:
    """A budget in its unit, and in the image's own units where they are known."""
    text, span = f"{short(eps)} {unit_name(unit)}", native(audit, unit, eps)
    if span is None:
        return text
    spread = (
        ""
        if span.min is None or span.max is None or span.min == span.max
        else f" at the median case, {short(span.min)} to {short(span.max)} over the cases"
    )
    return f"{text} ({short(span.median)} in the image's own units{spread})"
