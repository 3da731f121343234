"""Budgets in all units: the change that each led to, and the budget in the scanner's own units."""

from __future__ import annotations

from imaseg.report.audits import Audits
from imaseg.report.blocks import Cell, Table, row
from imaseg.report.compare import Series, all_series, ladder, strongest
from imaseg.report.numerals import ADDED, short, unit_name
from imaseg.report.sections.base import Section
from imaseg.results.attack import AttackEntry

_SIZES = {"rms": "RMS per voxel", "l2": "L2 norm", "linf": "largest change", "range": "largest, share of range"}


def build(audits: Audits) -> Section | None:
    """Every budget of one probe per set, the strongest attack if there is one."""
    lead = {(series.perturbation, series.unit): series for series in (*all_series(audits)[::-1], *strongest(audits))}
    rows = [
        _row(audit.name, series, point.probe)
        for series in lead.values()
        for audit in audits
        for point in ladder(audit, series)
        if point.probe is not None
    ]
    if not rows:
        return None
    caption = (
        "Budgets. Spent: median over n cases of the change that the named probe made, in the units of the model's "
        "input. Native: the budget in the image's own units before normalisation"
    )
    spent = [f"Spent: {name}" for name in _SIZES.values()]
    table = Table(caption, ["Model", "Probe", "Budget eps", *spent, "Native: median (min to max)"], rows)
    return Section(150, "budgets", "Budgets", "Budgets in all units", [table])


def _row(model: str, series: Series, entry: AttackEntry) -> list[Cell]:
    spent = [short(entry.sizes[unit]) if unit in entry.sizes else "not known" for unit in _SIZES]
    return row(model, series.probe, f"{short(entry.eps)} {unit_name(series.unit)}", *spent, _native(entry))


def _native(entry: AttackEntry) -> str:
    if entry.unit not in ADDED:
        return "no intensity"
    native = entry.eps_native
    return "not known" if native is None else f"{short(native.median)} ({short(native.min)} to {short(native.max)})"
