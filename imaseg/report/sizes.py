"""Dice by the size of the structure: small ones often break first."""

from __future__ import annotations

from collections.abc import Sequence

from imaseg.report.compare import strongest
from imaseg.report.numerals import bracket, decimal, short
from imaseg.report.parts import MISSING, Cell, Table, row
from imaseg.report.read import Audit
from imaseg.report.schema_parts import SizeGroup


def size_table(audits: Sequence[Audit]) -> Table | None:
    """One row per structure, group of sizes and model, clean and under the worst attacks; None without any."""
    groups = [(audit, group) for audit in audits for group in audit.summary.by_size]
    if not groups:
        return None
    columns = _columns(audits, groups)
    order = {key: place for place, key in enumerate(dict.fromkeys((g.class_, g.group) for _, g in groups))}
    rows = [
        row(
            audit.name,
            audit.summary.data.labels.get(group.class_, f"class {group.class_}"),
            Cell(group.group, _range(group)),
            str(group.n),
            Cell(decimal(group.clean), bracket(group.clean_ci95)),
            *_cells(group, columns),
        )
        for audit, group in sorted(groups, key=lambda one: order[one[1].class_, one[1].group])
    ]
    head = ["Model", "Structure", "Size", "n", "Clean", *(f"{probe} at {short(eps)}" for probe, eps in columns)]
    return Table("Mean Dice by volume of the structure in the label; n counts structures", head, rows)


def _columns(audits: Sequence[Audit], groups: Sequence[tuple[Audit, SizeGroup]]) -> list[tuple[str, float]]:
    """The worst attacks at all their budgets; everything where none of them was split by size."""
    found = sorted({(one.probe, one.eps) for _, group in groups for one in group.probes})
    worst = {series.probe for series in strongest(audits)}
    return [column for column in found if column[0] in worst] or found


def _cells(group: SizeGroup, columns: Sequence[tuple[str, float]]) -> list[Cell]:
    cells = {(one.probe, one.eps): Cell(decimal(one.dice), bracket(one.ci95)) for one in group.probes}
    return [cells.get(column, MISSING) for column in columns]


def _range(group: SizeGroup) -> str:
    low, high = group.volume_ml
    return "" if low is None or high is None else f"{short(low)} to {short(high)} ml"
