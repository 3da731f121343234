"""Dice by the size of the structure: small ones often break first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from imaseg.report.audits import Audit, Audits, dice_in_words, reference_word
from imaseg.report.blocks import MISSING, Cell, Section, Table, table, with_interval
from imaseg.report.compare import strongest
from imaseg.report.metrics import ON_FILES_BELOW, differs_on_files, note_on_files
from imaseg.report.wording import NO_INTERVAL, brief, decimal, short
from imaseg.results.summary import SizeGroup

_Groups = Sequence[tuple[Audit, SizeGroup]]


def build(audits: Audits) -> Section | None:
    """One row per structure, group of sizes and model, clean and under the worst attacks."""
    groups = [(audit, group) for audit in audits for group in audit.summary.by_size]
    rules = " ".join(dict.fromkeys(audit.summary.by_size_rule for audit in audits)).strip()
    if differs_on_files(audits):
        rules += f" {ON_FILES_BELOW}."
    title = "By size of the structure"
    return Section(120, "sizes", title, [_table(audits, groups)], rules, "By size") if groups else None


def _table(audits: Audits, groups: _Groups) -> Table:
    columns = _columns(audits, groups)
    units = {probe.probe: probe.unit for audit in audits for probe in audit.summary.probes}
    ends = [one.ci95 for _, group in groups for one in group.probes] + [group.clean_ci95 for _, group in groups]
    known = any(ends)  # said once where no group is large enough
    there = differs_on_files(audits)
    order = list(dict.fromkeys((group.structure, group.group) for _, group in groups))
    rows = [
        {
            "Model": audit.name,
            "Structure": audit.structure(group.structure),
            "Size": Cell(group.group, f"{short(group.volume_ml[0])} to {short(group.volume_ml[1])} ml"),
            "n": group.n,
            "Clean": _cell(group.clean, group.clean_ci95, group.clean_native if there else None, known=known),
            **_cells(group, columns, units, known=known, there=there),
        }
        for audit, group in sorted(groups, key=lambda pair: order.index((pair[1].structure, pair[1].group)))
    ]
    none = "" if known else f" ({NO_INTERVAL})"
    word, where = dice_in_words(audits), reference_word(audits)
    return table(f"Mean {word}{none} by volume of the structure in the {where}; n counts structures", rows)


def _columns(audits: Audits, groups: _Groups) -> list[tuple[str, float]]:
    """The worst attacks at all their budgets; everything where none of them was split by size."""
    columns = sorted({(probe.probe, probe.eps) for _, group in groups for probe in group.probes})
    worst = {series.probe for series in strongest(audits)}
    return [column for column in columns if column[0] in worst] or columns


def _cells(
    group: SizeGroup, columns: Sequence[tuple[str, float]], units: Mapping[str, str], *, known: bool, there: bool
) -> dict[str, Cell]:
    cells = {
        (probe.probe, probe.eps): _cell(probe.dice, probe.ci95, probe.native_dice if there else None, known=known)
        for probe in group.probes
    }
    heads = {column: f"{column[0]} at {brief(column[1], units.get(column[0], ''))}".strip() for column in columns}
    return {head: cells.get(column, MISSING) for column, head in heads.items()}


def _cell(dice: float, ends: Sequence[float] | None, native: float | None, *, known: bool) -> Cell:
    there = note_on_files(native)
    return with_interval(dice, ends, more=there) if known else Cell(decimal(dice), there)
