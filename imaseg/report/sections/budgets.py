"""Budgets in all units: the change that each led to, and the budget in the scanner's own units."""

from __future__ import annotations

from imaseg.report.audits import Audits
from imaseg.report.blocks import table
from imaseg.report.compare import all_series, ladder, strongest
from imaseg.report.numerals import ADDED, short, unit_name
from imaseg.report.sections.base import Section
from imaseg.results.attack import AttackEntry

_SIZES = {"rms": "RMS per voxel", "l2": "L2 norm", "linf": "largest change", "range": "largest, share of range"}


def build(audits: Audits) -> Section | None:
    """Every budget of one probe per set, the strongest attack if there is one."""
    lead = {(series.perturbation, series.unit): series for series in (*all_series(audits)[::-1], *strongest(audits))}
    rows = [
        _row(audit.name, point.probe)
        for series in lead.values()
        for audit in audits
        for point in ladder(audit, series)
        if point.probe is not None
    ]
    caption = (
        "Budgets. Spent: median over n cases of the change that the named probe made, in the units of the model's "
        "input. Native: the budget in the image's own units before normalisation"
    )
    blocks = [table(caption, rows)]
    return Section(150, "budgets", "Budgets", "Budgets in all units", blocks) if rows else None


def _row(model: str, entry: AttackEntry) -> dict[str, object]:
    spent = {
        f"Spent: {name}": short(entry.sizes[unit]) if unit in entry.sizes else "not known"
        for unit, name in _SIZES.items()
    }
    return {
        "Model": model,
        "Probe": entry.probe,
        "Budget eps": f"{short(entry.eps)} {unit_name(entry.unit)}",
        **spent,
        "Native: median (min to max)": _native(entry),
    }


def _native(entry: AttackEntry) -> str:
    if entry.unit not in ADDED:
        return "no intensity"
    native = entry.eps_native
    return "not known" if native is None else f"{short(native.median)} ({short(native.min)} to {short(native.max)})"
