"""Which cases of an audit have something to lose: the others fail, or are empty, without any change.

A mean over cases that are broken from the start says nothing about attacks, and an empty prediction agrees with itself
until a single voxel appears. So both are counted, and left out where a figure is about what a change breaks.
"""

from __future__ import annotations

from typing import NamedTuple

from imaseg.progress import counted
from imaseg.results.summary import Summary

FAILS = 0.1
"""Clean Dice below which a structure is as good as not found, whatever the criterion of margins says."""
_MANY = 0.1
"""Share of the cases from which on a mean over all of them misleads."""


class Standing(NamedTuple):
    """Cases by what they are without any change.

    Attributes:
        cases: those that a change can break.
        fallen: those that need none: they fail, or nothing is found in them.
        rule: what counts as failed; empty in audits against the model's own prediction, which knows empty cases only.
    """

    cases: tuple[str, ...]
    fallen: tuple[str, ...]
    rule: str

    @property
    def many(self) -> bool:
        """Whether so many are fallen that a mean over all cases misleads."""
        return len(self.fallen) > _MANY * (len(self.cases) + len(self.fallen))

    @property
    def said(self) -> str:
        """How many are fallen, as a phrase; empty without any."""
        if not self.fallen:
            return ""
        of = f"{len(self.fallen)} of {counted(len(self.cases) + len(self.fallen), 'case')}"
        if not self.rule:
            return f"nothing is found in {of}"
        return f"{of} {'fails' if len(self.fallen) == 1 else 'fail'} without any change"

    @property
    def sentence(self) -> str:
        """The same as a sentence that states the rule."""
        rule = f" ({self.rule})" if self.rule else ""
        return f"{self.said[0].upper()}{self.said[1:]}{rule}." if self.fallen else ""

    @property
    def others(self) -> str:
        """What the rest is called: `the other 10 cases`."""
        if not self.cases:
            return "no other case"
        return "the other case" if len(self.cases) == 1 else f"the other {counted(len(self.cases), 'case')}"


def standing(summary: Summary) -> Standing:
    """Of an audit, in the order of its cases."""
    every = [case.case for case in summary.metric_per_case]
    if summary.data.reference == "prediction":
        found = {case.case for case in summary.stability.cases if case.found} if summary.stability else {*every}
        return _split(every, {*every} - found, "")
    low, rule = {case.case for case in summary.metric_per_case if (case.dice or 0.0) < FAILS}, f"Dice below {FAILS:g}"
    whole = next((entry for entry in summary.margins if entry.structure is None and entry.per_case), None)
    if whole is None:
        return _split(every, low, rule)
    met = {case.case for case in whole.per_case if case.margin == 0}  # a relative criterion may spare a Dice of 0
    return _split(every, met | low, f"{whole.criterion}; or {rule}" if low - met else whole.criterion)


def _split(every: list[str], fallen: set[str], rule: str) -> Standing:
    return Standing(tuple(c for c in every if c not in fallen), tuple(c for c in every if c in fallen), rule)
