"""Small tables for the terminal: Dice at each budget, margins, and what became of written files."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Sequence

from rich.console import Console
from rich.table import Table

from imaseg.auditing.probes.margin import WHOLE
from imaseg.data.groups import NOT_STATED
from imaseg.progress import counted
from imaseg.results import CaseRecord, Summary
from imaseg.results.attack import AttackEntry, AttackRow
from imaseg.results.base import MEAN, Block, made_words, near_words
from imaseg.results.groups import CLEAN, Group, GroupFigure, Grouping
from imaseg.results.margin import MarginEntry
from imaseg.results.standing import Standing, standing
from imaseg.results.unsized import in_pixels

_WIDTH = 120
_GROUPS = 6
"""Groups of a column that its line names."""
_LEVEL = 0.05
"""Of significance."""


def plain(heads: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """Rows under their heads, without rules; the first `left` columns and the last empty-headed one stand left."""
    table = Table(box=None, show_edge=False, pad_edge=False, padding=(0, 2, 0, 0))
    for place, head in enumerate(heads):
        table.add_column(head, justify="left" if place < left or not head else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console = Console(width=10 * _WIDTH, color_system=None, highlight=False, markup=False, emoji=False)
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def strongest(summary: Summary, cases: Collection[str] | None = None) -> dict[tuple[str, str, float], float]:
    """Lowest mean foreground Dice, by set (`in_set`), unit and eps; the worst case over attacks where several ran.

    Over all cases, or over some.
    """
    lowest: dict[tuple[str, str, float], float] = {}
    for entry in (entry for entry in summary.probes if not entry.fitted_on):
        key, dice = (entry.in_set, entry.unit, entry.eps), entry.dice if cases is None else _among(entry, cases)
        lowest[key] = min(lowest.get(key, 1.0), dice if dice is not None else 1.0)
    return lowest


def _among(block: Block, cases: Collection[str]) -> float | None:
    """Mean foreground Dice over some cases."""
    known = [case.dice for case in block.metric_per_case if case.case in cases and case.dice is not None]
    return statistics.fmean(known) if known else None


def ladder_table(summaries: Sequence[Summary]) -> str:
    """Rows are budgets, columns are models; mean foreground Dice over cases.

    Where many cases fail or are empty without any change, that is said, and a second column is over the others.
    """
    stands = [standing(summary) for summary in summaries]
    split = [(s, one) for s, one in zip(summaries, stands, strict=True) if one.many and one.cases]
    worst = [strongest(summary) for summary in summaries] + [strongest(s, {*one.cases}) for s, one in split]
    sets = {e.in_set: (e.perturbation, near_words(e.within) + made_words(e.made_on)) for e in summaries[0].probes}
    clean = [*(summary.dice for summary in summaries), *(_among(s, {*one.cases}) for s, one in split)]
    rows = [["clean", *map(_dice, clean)]]
    rows += [
        [f"{name} {eps:g} {unit}{where}", *(_dice(lowest.get((kind, unit, eps))) for lowest in worst)]
        for kind, unit, eps in worst[0]
        for name, where in [sets[kind]]
    ]
    rows += [
        [
            f"{name} {eps:g} {unit} ({counted(len(found.metric_per_case), 'case')})",
            *(
                _dice(one.dice if (one := _universal(summary).get((name, eps, unit))) else None)
                for summary in summaries
            ),
            *("-" for _ in split),
        ]
        for (name, eps, unit), found in _universal(summaries[0]).items()
    ]
    title = f"Mean foreground Dice over {counted(summaries[0].data.cases, 'case')}, each under its worst attack"
    heads = ["", *(summary.model.name for summary in summaries), *(_others(summaries, s, one) for s, one in split)]
    said = [
        f"{_whose(summaries, s)}{_sentence(s, one)}" for s, one in zip(summaries, stands, strict=True) if one.fallen
    ]
    return "\n".join([*said, title, plain(heads, rows)])


def _sentence(summary: Summary, stands: Standing) -> str:
    return stands.sentence if summary.preparation.sized else in_pixels(stands.sentence)


def _whose(summaries: Sequence[Summary], summary: Summary) -> str:
    return f"{summary.model.name}: " if len(summaries) > 1 else ""


def _others(summaries: Sequence[Summary], summary: Summary, stands: Standing) -> str:
    return f"{_whose(summaries, summary)}{stands.others}"


def _universal(summary: Summary) -> dict[tuple[str, float, str], AttackEntry]:
    """What one perturbation for many cases did, by probe, which says whether it was fitted on them, and budget."""
    return {(entry.probe, entry.eps, entry.unit): entry for entry in summary.probes if entry.fitted_on}


def margin_table(margins: Sequence[MarginEntry]) -> str:
    """Rows are sets and structures; a median that rests on cases that nothing broke is a lower bound."""
    heads = ["set", "structure", "median", "unit", "quartiles", "unbroken", "failed clean", "held"]
    rows = []
    for entry in margins:
        low, middle, high = (_quantile(entry, name) for name in ("q25", "median", "q75"))
        held = f"{entry.held} of {entry.tested} checked" if entry.tested else "not checked"
        counts = [f"{entry.censored} of {entry.n}", str(entry.clean_failures), held]
        name = entry.perturbation + near_words(entry.within)
        rows.append([name, entry.structure or WHOLE, middle, entry.unit, f"{low} to {high}", *counts])
    return plain(heads, rows, left=len(heads))


def written_table(records: Sequence[CaseRecord], unit: str) -> str:
    """Rows are cases whose attacked images were written: Dice in the model's space and from the file.

    Args:
        records: finished cases.
        unit: of the budget, in which sizes are stated.
    """
    rows = []
    for record in records:
        for row in record.rows_of(AttackRow):
            if row.written is not None:
                dice = row.written.dice[MEAN]
                stages = [f"{dice[stage]:.3f}" for stage in ("clean", "attacked", "reread")]
                size = row.size * row.eps / row.eps_set if row.eps_set else row.size
                rows.append([record.case, *stages, f"{size:.4g}", row.written.note])
    return plain(["case", "clean", "attacked", "re-read", f"size ({unit})", ""], rows)


def group_line(grouping: Grouping, *, labelled: bool = True) -> str:
    """A column of the table of the cases in a line: Dice of its groups, and whether they differ.

    Clean Dice, or, of audits without labels where that is 1, agreement under the first attack at its smallest budget.
    """
    figures = [figure for group in grouping.groups for figure in group.figures]
    first = next((one for one in figures if (one.probe == CLEAN) == labelled), None)
    told = "" if first is None else "clean Dice " if labelled else f"agreement under {first.probe} at {first.eps:g} "
    shown = [f"{group.value} {_figure(group, first)}(n = {len(group.cases)})" for group in grouping.groups[:_GROUPS]]
    more = f" and {len(grouping.groups) - _GROUPS} more" if len(grouping.groups) > _GROUPS else ""
    return f"By {grouping.column}: {told}{', '.join(shown)}{more}. {_compared(grouping)}"


def _figure(group: Group, like: GroupFigure | None) -> str:
    here = [one for one in group.figures if like is not None and (one.probe, one.eps) == (like.probe, like.eps)]
    return f"{here[0].dice:.3f} " if here else ""


def _compared(grouping: Grouping) -> str:
    """What the tests say, and of how many groups."""
    if not grouping.gaps:
        return f"No two groups have {grouping.fewest} patients: none are compared."
    large = sum(group.patients >= grouping.fewest and group.value != NOT_STATED for group in grouping.groups)
    who = f"{large} of {counted(len(grouping.groups), 'group')} compared"
    least = min(grouping.gaps, key=lambda gap: gap.p)
    if least.p >= _LEVEL:
        return f"{who}: no difference that chance does not explain, which does not show that they are equal."
    where = "on unchanged images" if least.probe == CLEAN else f"under {least.probe} at {least.eps:g}"
    return f"{who}: {least.worst} is behind by {-least.gap:.3f} {where} (adjusted p = {least.p:.2g})."


def _dice(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _quantile(entry: MarginEntry, name: str) -> str:
    value = getattr(entry, name)
    return "-" if value is None else f"{'>=' if getattr(entry, f'{name}_at_least') else ''}{value:.3g}"
