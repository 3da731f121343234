"""How margins, their quantiles and what they are about are written."""

from __future__ import annotations

import math

from imaseg.report.wording import NO_INTERVAL, UNDEFINED, percent, short
from imaseg.results.margin import CaseMargin, MarginEntry


def quantile_text(entry: MarginEntry, name: str = "median") -> str:
    """A quantile; one that rests on cases that nothing broke is a lower bound, and said to be one."""
    value = getattr(entry, name)
    if value is None:
        return UNDEFINED
    bound = "above " if value >= entry.eps else "at least "
    return f"{bound if getattr(entry, f'{name}_at_least') else ''}{short(value)}"


def margin_text(margin: CaseMargin) -> str:
    """A margin in a table: censored ones lie above the ceiling, a clean failure is called one."""
    if margin.margin == 0:
        return "0 (fails unattacked)"
    return f"above {short(margin.eps)}" if margin.censored else short(margin.margin)


def structure_name(structure: str | None) -> str:
    """What a structure is called on the page.

    >>> structure_name(None), structure_name("Liver")
    ('whole case', 'Liver')
    """
    return "whole case" if structure is None else structure


def median_meaning(entry: MarginEntry) -> str:
    """What the median margin means to somebody who has not read how the set counts; empty where that is plain or 0."""
    if not entry.median:
        return ""
    over, factor = "over " if entry.median_at_least else "", 1 + entry.median
    if entry.median_share_of_range is not None:
        return f"{over}{percent(entry.median_share_of_range, 2)} of the intensity range"
    if entry.perturbation == "bias-field":
        return f"{over}{_factor(factor)} times as bright or dark"
    if entry.perturbation == "gamma":
        first, second = ("beyond", "and") if entry.median_at_least else ("from", "to")
        return f"exponents {first} {_factor(1 / factor)} {second} {_factor(factor)}"
    return ""


def _factor(value: float) -> str:
    """A factor with as many digits as tell it from 1.

    >>> _factor(1.5), _factor(1.0004)
    ('1.5', '1.0004')
    """
    return short(value, max(3, 1 - math.floor(math.log10(abs(value - 1)))))


def median_interval(entry: MarginEntry) -> str:
    """Interval of the median; an end at the ceiling is a lower bound."""
    ends = [f"above {short(entry.eps)}" if end >= entry.eps else short(end) for end in entry.median_ci95 or []]
    return f"[{', '.join(ends)}]" if ends else NO_INTERVAL if entry.n else ""
