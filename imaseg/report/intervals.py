"""What the intervals of a page are over, and how they were made, in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from imaseg.progress import counted
from imaseg.report.audits import Audit, Audits
from imaseg.report.other_cases import other_cases
from imaseg.report.wording import listing
from imaseg.results.base import Block
from imaseg.statistics import FEWEST


def patients_of(audit: Audit) -> Mapping[str, str]:
    """Patient by case, as far as the data named them."""
    return {} if audit.summary.intervals is None else audit.summary.intervals.patients


def over(audits: Audits) -> str:
    """Such as `12 patients`, of each audit by name where they differ."""
    units = {audit.name: _units(audit) for audit in audits}
    return listing(units.values() if len({*units.values()}) == 1 else (f"{n} ({name})" for name, n in units.items()))


def stated(audits: Audits, blocks: Iterable[Block]) -> str:
    """What a caption says of intervals: over what they are, or that these are too few for any."""
    if any(block.dice_ci95 is not None for block in blocks):
        return f"with 95 % interval over {over(audits)}"
    return f"without intervals, which need {FEWEST}, over {over(audits)}"


def how_made(audits: Audits) -> str:
    """A sentence for the methods."""
    alike = any(not other_cases(audits[0], audit) for audit in audits[1:])
    pairing = "; differences between models are paired by case" if alike else ""
    made = (
        f"Intervals are 95 % intervals over {over(audits)}: of means by Student's t, where cases share a patient with "
        f"the variance of leaving out one patient at a time, of medians between order statistics{pairing}; none for "
        f"fewer than {FEWEST}."
    )
    old = [audit.name for audit in audits if audit.summary.intervals is None]
    return made + (f" Those of {listing(old)} are percentile bootstraps of an earlier version." if old else "")


def doubts(audits: Audits) -> Iterator[str]:
    """What the page says of patients who are not known."""
    yield "The 95 % intervals describe the choice of cases or patients only, not what another training run would give."
    yield (
        "Intervals of a mean assume that no few cases decide it: those of mean HD95 and of volumes hold the truth less "
        "often than 95 %, and those of rare events (missed structures, false positives) far less often."
    )
    told = [(audit.name, audit.summary.intervals) for audit in audits]
    if unknown := [name for name, of in told if of is None or of.over == "cases"]:
        yield (
            f"Nothing says which cases of {listing(unknown)} are of one patient, so each counts as a patient of its "
            "own: intervals are too narrow if some are."
        )
    for name, of in told:
        if of is not None and of.unnamed:
            yield f"{name}: {counted(of.unnamed, 'case')} without a patient, each of which counts as one of its own."


def _units(audit: Audit) -> str:
    found = audit.summary.intervals
    n = audit.summary.data.cases if found is None else found.n
    return counted(n, "patient" if found is not None and found.over == "patients" else "case")
