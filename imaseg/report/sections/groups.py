"""For whom the model fails: Dice and margins by site, scanner, sex, age or whatever the table of the cases states."""

from __future__ import annotations

from collections.abc import Iterator

from imaseg.data.groups import NOT_STATED
from imaseg.progress import counted
from imaseg.report.audits import Audit, Audits, dice_word, labels_are_predictions, model_column, owner
from imaseg.report.blocks import MISSING, Block, Cell, Section, Sentence, Table, table, with_interval
from imaseg.report.compare import strongest
from imaseg.report.metrics import ON_FILES_BELOW, differs_on_files, note_on_files
from imaseg.report.wording import brief, decimal, short, unit_name
from imaseg.results.groups import CLEAN, Group, GroupGap, Grouping

_LEVEL = 0.05
_METHOD = (
    "Groups were compared by the Kruskal-Wallis test over patients (cases where none are named), for each column and "
    "probe, adjusted by Holm's method over all of these. Groups that are too small are shown and not compared."
)


def build(audits: Audits) -> Section | None:
    """A table per column and model."""
    held = [(audit, grouping) for audit in audits for grouping in audit.summary.groups]
    if not held:
        return None
    blocks: list[Block] = [_table(audits, audit, grouping) for audit, grouping in held]
    gaps = [(audit, one) for audit, one in held if one.gaps]
    if gaps:
        blocks.append(_gaps(audits, gaps))
    fewest, there = held[0][1].fewest, f"; {ON_FILES_BELOW}" if differs_on_files(audits) else ""
    return Section(
        115,
        "groups",
        "By group",
        blocks,
        f"In brackets: 95 % interval{there}. Groups of fewer than {fewest} patients get neither an interval nor a "
        "verdict.",
        "By group",
        sentences=[Sentence("Groups of cases:", tuple(_said(audits, held)))],
        methods=[_METHOD],
        limits=[
            "A group that does worse may differ in more than the column says: disease, scanner and site go together."
        ],
    )


def _said(audits: Audits, held: list[tuple[Audit, Grouping]]) -> Iterator[str]:
    for audit, grouping in held:
        who = f"{owner(audits, audit)}{grouping.column}"
        if not grouping.gaps:
            yield f"{who}: no two groups have {grouping.fewest} patients, so no verdict"
            continue
        worst = min(grouping.gaps, key=lambda gap: gap.p)
        where = "on unchanged images" if worst.probe == CLEAN else f"under {_where(audit, worst.probe, worst.eps)}"
        if worst.p < _LEVEL:
            yield (
                f"{who}: {worst.worst} is behind by {decimal(-worst.gap)} {where} (adjusted p = {short(worst.p, 2)})"
            )
        else:
            yield f"{who}: {_compared(grouping)} no difference that chance does not explain, which is not equality"


def _compared(grouping: Grouping) -> str:
    """How many groups were compared, and which were not: such as `3 of 4 groups compared (too few: SC-N),`."""
    small = [f"{g.value}, {counted(g.patients, 'patient')}" for g in grouping.groups if g.patients < grouping.fewest]
    unstated = [g.value for g in grouping.groups if g.value == NOT_STATED and g.patients >= grouping.fewest]
    left = [f"too few: {'; '.join(small)}" if small else "", *unstated]
    number = len(grouping.groups) - len(small) - len(unstated)
    return f"{number} of {counted(len(grouping.groups), 'group')} compared" + (
        f" ({'; '.join(filter(None, left))}):" if small or unstated else ":"
    )


def _where(audit: Audit, probe: str, eps: float) -> str:
    units = {entry.probe: entry.unit for entry in audit.summary.probes}
    return f"{probe} at {brief(eps, units.get(probe, ''))}".strip()


def _table(audits: Audits, audit: Audit, grouping: Grouping) -> Table:
    # Without labels that is 1 by definition.
    shown, there = [] if labels_are_predictions(audits) else [(CLEAN, 0.0)], differs_on_files(audits)
    worst = {series.probe for series in strongest([audit])}
    shown += [(one.probe, one.eps) for one in grouping.groups[0].figures if one.probe in worst]
    rows = [
        {
            grouping.column: group.value,
            "Patients": group.patients,
            "n": len(group.cases),
            **{_head(audits, audit, *key): _cell(group, *key, there=there) for key in shown},
            **_margins(group),
        }
        for group in grouping.groups
    ]
    heads = list(dict.fromkeys(head for row in rows for head in row))
    filled = [{head: row.get(head, MISSING) for head in heads} for row in rows]
    return table(f"{owner(audits, audit)}Mean {dice_word(audits)} by {grouping.column}", filled)


def _margins(group: Group) -> dict[str, str]:
    return {
        f"Median margin, {one.probe} ({unit_name(one.unit)})": f"{'at least ' * one.at_least}{short(one.median)}"
        for one in group.margins
    }


def _head(audits: Audits, audit: Audit, probe: str, eps: float) -> str:
    return f"{dice_word(audits)}, clean" if probe == CLEAN else _where(audit, probe, eps)


def _cell(group: Group, probe: str, eps: float, *, there: bool) -> Cell | str:
    found = next((one for one in group.figures if (one.probe, one.eps) == (probe, eps)), None)
    if found is None:
        return MISSING
    note = note_on_files(found.native_dice if there else None)
    if found.ci95 is None:
        return Cell(decimal(found.dice), note)
    return with_interval(found.dice, found.ci95, more=note)


def _gaps(audits: Audits, held: list[tuple[Audit, Grouping]]) -> Table:
    rows = [
        {**model_column(audits, audit), "Column": grouping.column, **_gap(audits, audit, gap)}
        for audit, grouping in held
        for gap in grouping.gaps
    ]
    return table("Lowest less highest mean of the groups that are large enough; p adjusted for all rows", rows)


def _gap(audits: Audits, audit: Audit, gap: GroupGap) -> dict[str, str]:
    return {
        "Under": _head(audits, audit, gap.probe, gap.eps),
        "Gap": decimal(gap.gap, sign=True),
        "Lowest group": gap.worst if gap.gap else "none: all alike",
        "p": short(gap.p, 2),
    }
