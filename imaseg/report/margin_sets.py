"""Margins of an audit by perturbation set, and how a margin and its quantiles are written."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from imaseg.report.audits import Audit
from imaseg.report.numerals import UNDEFINED, set_name, short, unit_name
from imaseg.results.margin import CaseMargin, MarginEntry


class Question(NamedTuple):
    """What must agree before two margins may be compared."""

    probe: str
    perturbation: str
    unit: str
    criterion: str

    @property
    def title(self) -> str:
        """Set and unit, as heads of columns call them."""
        return f"{set_name(self.perturbation)} ({unit_name(self.unit)})"


class MarginSet(NamedTuple):
    """Margins of one question: of the whole cases, then of each structure by itself."""

    question: Question
    entries: list[MarginEntry]

    @property
    def whole(self) -> MarginEntry:
        """Margins of the whole cases."""
        return self.entries[0]

    def entry(self, structure: str | None) -> MarginEntry | None:
        """Margins of a structure, or of the whole cases; None if they were not asked for."""
        return next((entry for entry in self.entries if entry.structure == structure), None)

    def margin(self, structure: str | None, case: str) -> CaseMargin | None:
        """Margin of a case; None where it does not hold the structure."""
        entry = self.entry(structure)
        return next((margin for margin in entry.per_case if margin.case == case), None) if entry else None


def margin_sets(audit: Audit) -> list[MarginSet]:
    """The margins of an audit; structures follow the whole cases that they belong to."""
    sets: list[MarginSet] = []
    for entry in audit.summary.margins:
        if entry.structure is None or not sets:
            sets.append(MarginSet(Question(entry.probe, entry.perturbation, entry.unit, entry.criterion), []))
        sets[-1].entries.append(entry)
    return sets


def ranked_cases(audit: Audit) -> list[str]:
    """Cases, the one that breaks first in the mean over the sets first; unbroken cases come last and level."""
    cases = [case.case for case in audit.summary.metric_per_case]
    ranks = []
    for margins in margin_sets(audit):
        found = [margins.margin(None, case) for case in cases]
        values = np.array([np.inf if margin is None or margin.censored else margin.margin for margin in found])
        ranks.append((values[:, None] > values).sum(1) + ((values[:, None] == values).sum(1) - 1) / 2)
    order = np.argsort(np.mean(ranks, axis=0), kind="stable") if ranks else range(len(cases))
    return [cases[number] for number in order]


def quantile_text(entry: MarginEntry, name: str = "median") -> str:
    """A quantile; one that rests on cases that nothing broke is a lower bound, and said to be one."""
    value = getattr(entry, name)
    if value is None:
        return UNDEFINED
    if not getattr(entry, f"{name}_at_least"):
        return short(value)
    return f"{'above' if value >= entry.eps else 'at least'} {short(value)}"


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
        return f"{over}{short(100 * entry.median_share_of_range, 2)} % of the intensity range"
    if entry.perturbation == "bias-field":
        return f"{over}{short(factor)} times as bright or dark"
    if entry.perturbation == "gamma":
        first, second = ("beyond", "and") if entry.median_at_least else ("from", "to")
        return f"exponents {first} {short(1 / factor)} {second} {short(factor)}"
    return ""


def median_interval(entry: MarginEntry) -> str:
    """Interval of the median; an end at the ceiling is a lower bound. Empty if there is none."""
    if entry.median_ci95 is None:
        return ""
    low, high = (f"above {short(entry.eps)}" if end >= entry.eps else short(end) for end in entry.median_ci95)
    return f"[{low}, {high}]"
