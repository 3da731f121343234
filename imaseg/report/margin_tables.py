"""Tables of margins: every set and structure, the weakest cases, every margin of every case."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from imaseg.report.margin_read import Margins
from imaseg.report.margin_schema import WHOLE, CaseMargins, Entry, Row
from imaseg.report.numerals import UNDEFINED, count, decimal, set_name, short, unit_name
from imaseg.report.parts import Cell, Table, row

_WEAKEST = 10
_ABSENT = Cell("not in the label", missing=True)


def measured(margins: Margins, entry: Entry) -> list[tuple[str, Row]]:
    """Cases with a known margin on the set and structure of an entry."""
    found = ((case.case, case.row(entry.perturbation, entry.structure)) for case in margins.cases)
    return [(case, one) for case, one in found if one is not None and one.margin is not None]


def quantile_text(entry: Entry, name: str) -> str:
    """A quantile; one that rests on cases that nothing broke is a lower bound, and said to be one."""
    value = getattr(entry, name)
    if value is None:
        return UNDEFINED
    if not getattr(entry, f"{name}_at_least"):
        return short(value)
    return f"{'above' if value >= entry.eps else 'at least'} {short(value)}"


def margin_text(one: Row | None) -> str:
    """A margin in a table: censored ones lie above the ceiling, a clean failure is called one."""
    if one is None or one.margin is None:
        return _ABSENT.text
    if one.margin == 0:
        return "0 (fails unattacked)"
    return f"above {short(one.eps)}" if one.censored else short(one.margin)


def structure_name(structure: str) -> str:
    """What a structure is called on the page.

    >>> structure_name("whole"), structure_name("Liver")
    ('whole case', 'Liver')
    """
    return "whole case" if structure == WHOLE else structure


def in_words(entry: Entry) -> str:
    """What the median margin means to somebody who has not read how the set counts; empty where that is plain.

    >>> in_words(Entry(perturbation="gamma", unit="relative", structure="whole", eps=2.0, n=3, median=0.5))
    'exponents from 0.667 to 1.5'
    """
    if entry.median is None:
        return ""
    more, factor = entry.median_at_least, 1 + entry.median
    if entry.median_share_of_range is not None:
        return f"{'over ' if more else ''}{short(100 * entry.median_share_of_range, 2)} % of the intensity range"
    if entry.perturbation == "bias-field":
        return f"{'over ' if more else ''}{short(factor)} times as bright or dark"
    if entry.perturbation == "gamma":
        return f"exponents {'beyond' if more else 'from'} {short(1 / factor)} {'and' if more else 'to'} {short(factor)}"
    return ""


def results_table(margins: Margins) -> Table:
    """One row per set and structure."""
    rows = [
        row(
            Cell(set_name(entry.perturbation), unit_name(entry.unit)),
            structure_name(entry.structure),
            Cell(quantile_text(entry, "median"), _interval(entry)),
            f"{quantile_text(entry, 'q25')} to {quantile_text(entry, 'q75')}",
            in_words(entry) or f"{quantile_text(entry, 'median')} {unit_name(entry.unit)}",
            Cell(f"{entry.censored} of {entry.n}", f"{entry.absent} without it" if entry.absent else ""),
            str(entry.clean_failures),
            f"{entry.held} of {entry.tested}",
        )
        for entry in margins.run.summary
    ]
    caption = (
        "Margins: the smallest budget found that breaks a case. Not broken: cases that withstood every budget up to "
        "the ceiling (censored). Held: margins just below which three new attacks failed"
    )
    head = [
        "Set (unit)",
        "Structure",
        "Median [95 % CI]",
        "Quartiles",
        "Median in words",
        "Not broken",
        "Fail clean",
        "Held",
    ]
    return Table(caption, head, rows)


def weakest_table(margins: Margins) -> Table:
    """The cases that break first, by their mean rank over the sets."""
    sets = margins.run.sets
    cases = ranked(margins)[:_WEAKEST]
    rows = [
        row(
            case.case,
            decimal(case.structures[WHOLE].clean_dice),
            short(case.structures[WHOLE].volume_ml),
            *(Cell(margin_text(case.row(entry.perturbation, WHOLE)), _first(case, entry)) for entry in sets),
        )
        for case in cases
    ]
    caption = (
        f"{len(rows)} of {count(len(margins.cases), 'case')}, the weakest first, by the mean of their ranks over the "
        "sets. Cells: margin of the whole case; below it the structure that breaks first by itself, and where"
    )
    head = ["Case", "Clean Dice", "Volume (ml)", *(f"{_title(entry)}" for entry in sets)]
    return Table(caption, head, rows)


def ranked(margins: Margins) -> list[CaseMargins]:
    """Cases, the one that breaks first in the mean over the sets first; unbroken cases come last and level."""
    cases = margins.cases
    if not cases:
        return []
    ranks = []
    for entry in margins.run.sets:
        found = [case.row(entry.perturbation, WHOLE) for case in cases]
        known = np.array([np.inf if one is None or one.margin is None or one.censored else one.margin for one in found])
        ranks.append((known[:, None] > known[None]).sum(1) + ((known[:, None] == known[None]).sum(1) - 1) / 2)
    order = np.argsort(np.mean(ranks, axis=0), kind="stable")
    return [cases[place] for place in order]


def cases_table(margins: Margins) -> Table:
    """Every margin of every case."""
    sets = margins.run.sets
    rows = [
        row(
            case.case,
            structure_name(name),
            decimal(found.clean_dice),
            short(found.volume_ml),
            *(_marked(case.row(entry.perturbation, name)) for entry in sets),
        )
        for case in margins.cases
        for name, found in case.structures.items()
    ]
    head = ["Case", "Structure", "Clean Dice", "Volume (ml)", *(_title(entry) for entry in sets)]
    return Table("Every margin; those marked did not hold against three new attacks just below them", head, rows)


def _marked(one: Row | None) -> Cell:
    if one is None or one.margin is None:
        return _ABSENT
    return Cell(margin_text(one), "did not hold" if one.confirmed is False else "")


def _first(case: CaseMargins, entry: Entry) -> str:
    """The structure that breaks first."""
    found = [
        (one.margin, one)
        for name in case.structures
        if name != WHOLE and (one := case.row(entry.perturbation, name)) is not None
        if one.margin is not None and not one.censored
    ]
    if not found:
        return "no structure breaks"
    one = min(found, key=lambda pair: pair[0])[1]
    return f"{one.structure} {margin_text(one)}"


def _title(entry: Entry) -> str:
    return f"{set_name(entry.perturbation)} ({unit_name(entry.unit)})"


def _interval(entry: Entry) -> str:
    if entry.median_ci95 is None:
        return ""
    low, high = (
        f"above {short(entry.eps)}" if end is None or end >= entry.eps else short(end) for end in entry.median_ci95
    )
    return f"[{low}, {high}]"


def weakest(margins: Margins, entries: Sequence[Entry]) -> list[tuple[str, Row]]:
    """Case and margin of the weakest case of each entry that any case breaks in."""
    found = []
    for entry in entries:
        rows = [(case, one) for case, one in measured(margins, entry) if not one.censored]
        if rows:
            found.append(min(rows, key=lambda pair: pair[1].margin or 0.0))
    return found
