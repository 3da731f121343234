"""How far one cohort is from another for the same model: as much as which severity of which corruption."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from imaseg.report.audits import Audit, Audits, labels_are_predictions
from imaseg.report.compare import clean_point
from imaseg.report.intervals import patients_of
from imaseg.report.metrics import NATIVE
from imaseg.report.other_cases import cases_of, dice_by_case, model_of, other_cases
from imaseg.report.wording import decimal, in_words, listing
from imaseg.results.base import MEAN, CaseScores
from imaseg.results.corruption import CorruptionEntry
from imaseg.statistics.equal_cost import EqualCost, equal_cost, mean_difference

_NAMED = 3
_Dice = dict[str, float]


class Distance(NamedTuple):
    """The severity of one corruption that costs the first cohort as much as the other cohort costs.

    Attributes:
        title: of the corruption.
        levels: severities that the first cohort was audited at, rising from 0.
        means: mean Dice (agreement) of the first cohort at these.
        changes: median sizes of the image change at these.
        target: mean of the other cohort: Dice without any change, or agreement at the lowest severity.
        found: the severity.
        n, m: cases of both.
        on_files: `means` and `target` counted on the grid of the files; empty where they were not.
    """

    title: str
    levels: list[float]
    means: list[float]
    changes: list[float]
    target: float
    found: EqualCost
    n: int
    m: int
    on_files: list[float]

    @property
    def inside(self) -> bool:
        """Whether it lies among the audited severities."""
        return self.levels[1] <= self.found.level <= self.levels[-1]

    @property
    def severity(self) -> str:
        """In words."""
        return self._words(self.found.level)

    @property
    def bracket(self) -> str:
        """Interval of the severity as sentences hold it; empty if there is none."""
        ends = self.found.ci95
        return "" if ends is None else f" [{self._words(ends[0])}, {self._words(ends[1])}]"

    @property
    def change(self) -> float | None:
        """Size of the image change there, by straight lines between the audited ones; None outside of them."""
        return float(np.interp(self.found.level, self.levels, self.changes)) if self.inside else None

    def _words(self, level: float) -> str:
        if level < self.levels[1]:
            return f"less than {self.levels[1]:g}" if level > 0 else "none"
        return f"beyond {self.levels[-1]:g}" if math.isinf(level) else decimal(level, 1)


class Pair(NamedTuple):
    """Two audits of one model on different data."""

    first: Audit
    other: Audit

    @property
    def distances(self) -> list[Distance]:
        """One per corruption that both hold; those reached at a low severity first, those never reached last."""
        theirs = corrupted(self.other)
        found = [self._distance(own, theirs[name]) for name, own in corrupted(self.first).items() if name in theirs]
        known = [one for one in found if one is not None]
        return sorted(known, key=lambda one: (not one.inside, one.found.level, one.title))

    @property
    def cost(self) -> str:
        """Mean Dice of the other cohort less that of the first, both unchanged, with its interval."""
        one, other = (dice_by_case(clean_point(audit).cases) for audit in self)
        units = _patients(self.first, one), _patients(self.other, other)
        mean, ends = mean_difference([*one.values()], [*other.values()], *units)
        return f"{decimal(mean, sign=True)} ({in_words(ends, sign=True)})"

    def _distance(self, own: list[CorruptionEntry], theirs: list[CorruptionEntry]) -> Distance | None:
        scores = [clean_point(self.first).cases, *(entry.metric_per_case for entry in own)]
        steps = [dice_by_case(one) for one in scores]
        cases = [case for case in steps[0] if all(case in step for step in steps)]
        others = clean_point(self.other).cases
        if labels_are_predictions([self.first]):
            others = theirs[0].metric_per_case if theirs[0].severity == own[0].severity else []
        other = dice_by_case(others)
        if not cases or not other:
            return None
        levels = [0.0, *(float(entry.severity) for entry in own)]
        curves = np.array([[step[case] for step in steps] for case in cases])
        units = _patients(self.first, cases), _patients(self.other, other)
        return Distance(
            title=own[0].title,
            levels=levels,
            means=curves.mean(0).tolist(),
            changes=[0.0, *(entry.change.median for entry in own)],
            target=float(np.mean([*other.values()])),
            found=equal_cost(levels, curves, [*other.values()], *units),
            n=len(cases),
            m=len(other),
            on_files=_on_files([*((one, cases) for one in scores), (others, [*other])]),
        )


def _on_files(tables: Sequence[tuple[list[CaseScores], list[str]]]) -> list[float]:
    """Mean Dice on the grid of the files over the chosen cases of each table; empty where one was not counted."""
    means = []
    for scores, chosen in tables:
        there = {one.case: one.metrics.get(MEAN, {}).get(NATIVE) for one in scores}
        known = [value for case in chosen if (value := there.get(case)) is not None]
        if len(known) < len(chosen):
            return []
        means.append(float(np.mean(known)))
    return means


def pairs_of(audits: Audits) -> list[Pair]:
    """Each audit with the first one of the same model on other data."""
    firsts = [
        next((one for one in audits[:place] if other_cases(one, audit)), None) for place, audit in enumerate(audits)
    ]
    return [Pair(first, audit) for first, audit in zip(firsts, audits, strict=True) if first is not None]


def lines(audits: Audits) -> list[str]:
    """A sentence per pair of cohorts, for the summary and the terminal, then why others are not compared."""
    return [*(_said(pair) for pair in pairs_of(audits) if pair.distances), *refusals(audits)]


def refusals(audits: Audits) -> Iterator[str]:
    """Why cohorts of a page are not compared, a sentence each."""
    pairs = pairs_of(audits)
    for pair in pairs:
        if not pair.distances:
            yield (
                f"{pair.first.name} and {pair.other.name} have no corruption in common, so no severity says how far "
                "these cohorts are apart. Audit both with the same `corruptions`."
            )
    compared = {audit.name for pair in pairs for audit in pair}
    first = audits[0]
    for audit in audits[1:]:
        if audit.name not in compared and model_of(audit) != model_of(first) and not cases_of(audit) & cases_of(first):
            what = "card" if model_of(audit)[0] == model_of(first)[0] else "weights"
            yield (
                f"{audit.name} and {first.name} differ in the cases and in the model's {what}, so no severity says how "
                "far these cohorts are apart. Audit one model on both."
            )


def _said(pair: Pair) -> str:
    distances, one, other = pair.distances, pair.first.name, pair.other.name
    if labels_are_predictions(pair):
        start = f"Predictions on {other} are as unstable at severity {distances[0].levels[1]:g} as those on {one}"
        return f"{start} at {_measures(distances)}."
    if not any(distance.found.level for distance in distances):
        return f"From {one} to {other} mean Dice changes by {pair.cost}: on average {other} is no harder for the model."
    return f"From {one} to {other} mean Dice changes by {pair.cost}, as much as {_measures(distances)} costs {one}."


def _measures(distances: Sequence[Distance]) -> str:
    """Severities by name of the corruption, the few first ones, and how many lie on either side."""
    inside = [one for one in distances if one.inside]
    parts = [f"severity {one.severity}{one.bracket} of {one.title}" for one in inside[:_NAMED]]
    sides: dict[str, list[str]] = {}
    for one in distances:
        if not one.inside:
            sides.setdefault(one.severity, []).append(one.title)
    parts += [f"a severity {side} of {_few(titles)}" for side, titles in sides.items() if side != "none"]
    more = f" ({len(inside) - _NAMED} more: table)" if len(inside) > _NAMED else ""
    return f"{' or '.join(parts) or 'no severity'}{more}"


def _few(titles: Sequence[str]) -> str:
    return listing(titles) if len(titles) <= _NAMED else f"{len(titles)} others"


def corrupted(audit: Audit) -> dict[str, list[CorruptionEntry]]:
    """Entries by corruption, by rising severity."""
    found: dict[str, list[CorruptionEntry]] = {}
    for entry in sorted(audit.summary.corruptions, key=lambda entry: entry.severity):
        found.setdefault(entry.corruption, []).append(entry)
    return found


def _patients(audit: Audit, cases: Sequence[str] | _Dice) -> list[str]:
    known = patients_of(audit)
    return [known.get(case, case) for case in cases]
