"""Budgets in all units: the change that each led to, and the budget in the scanner's own units."""

from __future__ import annotations

from imaseg.report.audits import Audit, Audits
from imaseg.report.blocks import Cell, Section, table
from imaseg.report.breaking import own_unit
from imaseg.report.compare import all_series, ladder, strongest
from imaseg.report.wording import ADDED, OWN, amount, short, spread_text
from imaseg.results.attack import AttackEntry

_SIZES = {
    "rms": "RMS per voxel (input units)",
    "l2": "L2 norm (input units)",
    "linf": "largest (input units)",
    "range": "largest, share of range",
}
_CAPTION = (
    "Budgets. Spent: median change that the named probe made, over the cases that it changed, in the units of the "
    "model's input; a case that fails unattacked is not changed. Native: the budget in grey levels, the units of the "
    "image before normalisation"
)


def build(audits: Audits) -> Section | None:
    """Every budget of one probe per set, the strongest attack if there is one."""
    lead = {series.searched: series for series in (*all_series(audits)[::-1], *strongest(audits))}
    points = [(a, point.probe) for series in lead.values() for a in audits for point in ladder(a, series)]
    rows = [_row(audit, entry) for audit, entry in points if entry is not None]
    return Section(150, "budgets", "Budgets in all units", [table(_CAPTION, rows)], name="Budgets") if rows else None


def _row(audit: Audit, entry: AttackEntry) -> dict[str, object]:
    sizes = {unit: short(size) for unit, size in entry.sizes.items()}
    return {
        "Model": audit.name,
        "Probe": entry.probe,
        "Budget eps": amount(entry.eps, entry.unit),
        "Changed": _changed(entry),
        **{f"Spent: {name}": sizes.get(unit, "not known") for unit, name in _SIZES.items()},
        "Native: median (min to max)": _native(audit, entry),
    }


def _changed(entry: AttackEntry) -> Cell:
    """How many cases the sizes are the median of; audits of earlier versions took it over all."""
    if entry.moved is not None:
        return Cell(f"{entry.moved} of {entry.n}")
    few = entry.eps > 0 and not any(entry.sizes.values())
    return Cell("not recorded", "medians of 0: most cases were not changed" if few else "medians over all cases")


def _native(audit: Audit, entry: AttackEntry) -> str:
    if entry.unit in OWN:
        return amount(entry.eps, entry.unit)
    if entry.unit not in ADDED:
        return "no intensity"
    return f"{spread_text(entry.eps_native)}{own_unit(audit)}" if entry.eps_native else "not known"
