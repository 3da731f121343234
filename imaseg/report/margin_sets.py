"""Margins of an audit by perturbation set."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.stats import rankdata

from imaseg.report.audits import Audit
from imaseg.report.wording import set_name, unit_name
from imaseg.results.margin import CaseMargin, MarginEntry


class Question(NamedTuple):
    """What must agree before two margins may be compared."""

    probe: str
    perturbation: str
    unit: str
    within: float | None
    criterion: str

    @property
    def set(self) -> str:
        """What the perturbation set is called."""
        return set_name(self.perturbation, self.within)

    @property
    def searched(self) -> tuple[str, str, float | None, str]:
        """Set, unit, where it may change, as `Series` has them; margins are always of the audited model."""
        return self.perturbation, self.unit, self.within, ""

    @property
    def title(self) -> str:
        """Set and unit, as heads of columns call them."""
        return f"{self.set} ({unit_name(self.unit)})"


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
            question = Question(entry.probe, entry.perturbation, entry.unit, entry.within, entry.criterion)
            sets.append(MarginSet(question, []))
        sets[-1].entries.append(entry)
    return sets


def ranked_cases(audit: Audit) -> list[str]:
    """Cases, the one that breaks first in the mean over the sets first; unbroken cases come last and level."""
    cases = [case.case for case in audit.summary.metric_per_case]
    heights = [
        [
            np.inf if (margin := margins.margin(None, case)) is None or margin.censored else margin.margin
            for case in cases
        ]
        for margins in margin_sets(audit)
    ]
    ranks = rankdata(heights, axis=1).mean(axis=0) if heights else np.zeros(len(cases))
    return [cases[number] for number in np.argsort(ranks, kind="stable")]
