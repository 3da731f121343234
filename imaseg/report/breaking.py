"""At which budget Dice halves, of a model and of each case, interpolated between the audited budgets around it."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from imaseg.report.audits import Audit
from imaseg.report.compare import Series, clean_point, ladder
from imaseg.report.focus import focus, standing_of
from imaseg.report.margin_sets import margin_sets
from imaseg.report.wording import ADDED, OWN, amount, short
from imaseg.results.base import Spread
from imaseg.results.preparation import EIGHT_BITS

_LEFT = 0.1
"""Share of the clean Dice below which next to nothing is left."""


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
    rungs = [(x, y) for x, y in zip(eps, dice, strict=True) if y is not None]
    for number, (x, y) in enumerate(rungs):
        if y <= level:
            if number == 0:
                return x
            before, above = rungs[number - 1]
            return before + (x - before) * (above - level) / (above - y)
    return None


def halves_at(audit: Audit, series: Series) -> float | None:
    """The budget at which the mean Dice is half of the clean one; None if no audited budget halves it.

    Where many cases fail or are empty without any change, over those that do not.
    """
    points = [focus(audit, point) for point in (clean_point(audit), *ladder(audit, series))]
    clean = points[0].dice
    if clean is None:
        return None
    return crossing([point.eps for point in points], [point.dice for point in points], clean / 2)


def too_large(audit: Audit, series: Series) -> bool:
    """Whether even the smallest budget leaves next to nothing, so that no budget tells cases apart."""
    rungs = ladder(audit, series)
    clean, least = focus(audit, clean_point(audit)).dice, focus(audit, rungs[0]).dice if rungs else None
    return bool(clean) and least is not None and least <= _LEFT * (clean or 0.0)


def median_margin(audit: Audit, series: Series) -> float | None:
    """Median margin in the same set and unit of the cases that a change can break; None without, or if it is open."""
    stands = {*standing_of(audit).cases}
    for margins in margin_sets(audit):
        if margins.question.searched == series.searched:
            held = [case for case in margins.whole.per_case if case.case in stands]
            middle = median(case.margin for case in held) if held else None
            return None if middle is None or any(case.censored and case.margin <= middle for case in held) else middle
    return None


def breaks(audit: Audit, series: Series) -> list[Break]:
    """Cases that a change can break, the first first; those that no budget halves last, by their lowest Dice."""
    stands = {*standing_of(audit).cases}
    points = [clean_point(audit), *ladder(audit, series)]
    by_eps = [{case.case: case.dice for case in point.cases} for point in points]
    cases = []
    for case, clean in (
        (case.case, case.dice) for case in points[0].cases if case.dice is not None and case.case in stands
    ):
        dice = [rung.get(case) for rung in by_eps]
        eps = crossing([point.eps for point in points], dice, clean / 2)
        cases.append(Break(case, clean, eps, min(value for value in dice if value is not None)))
    return sorted(cases, key=lambda case: (case.eps is None, case.eps or 0.0, case.lowest, case.case))


def native(audit: Audit, unit: str, eps: float) -> Spread | None:
    """A budget in the image's own units; None where it is no intensity, or the units are not known."""
    for probe in audit.summary.probes if unit in ADDED else []:
        if probe.unit == unit and probe.eps > 0 and probe.eps_native is not None:
            factor = eps / probe.eps
            return Spread(**{end: value * factor for end, value in probe.eps_native.model_dump().items()})
    return None


def native_text(audit: Audit, unit: str, eps: float) -> str:
    """A budget in the image's own units at the median case, or why there is none."""
    spread = native(audit, unit, eps)
    if unit in OWN:
        return amount(eps, unit)
    if spread is None:
        return "not known" if unit in ADDED else "no intensity"
    return f"{short(spread.median)}{own_unit(audit)}"


def budget_text(audit: Audit, unit: str, eps: float) -> str:
    """A budget in its unit, and in the image's own units where they are known."""
    spread = native(audit, unit, eps)
    if spread is None:
        return amount(eps, unit)
    alike = spread.min == spread.max
    over = "" if alike else f" at the median case, {short(spread.min)} to {short(spread.max)} over the cases"
    own = own_unit(audit) or " grey levels"
    return f"{amount(eps, unit)} ({short(spread.median)}{own}{over})"


def own_unit(audit: Audit) -> str:
    """Unit of the grey values in the files, after a blank; empty where nobody says."""
    return {"HU": " HU", EIGHT_BITS: " of 255 grey levels"}.get(audit.summary.preparation.unit, "")
