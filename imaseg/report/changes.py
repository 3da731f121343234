"""The changes of images that tables of few rows show: strongest attacks, and corruptions at the highest severity."""

from __future__ import annotations

from typing import NamedTuple

from imaseg.report.audits import Audit, Audits
from imaseg.report.blocks import Cell
from imaseg.report.compare import ladder, strongest, telling
from imaseg.report.wording import amount
from imaseg.results.base import Block


class Change(NamedTuple):
    """A probe and its budget or severity, what a table calls them, and the scores under it."""

    probe: str
    eps: float
    name: Cell
    block: Block


def changes(audits: Audits, audit: Audit, *, budgets: bool) -> list[Change]:
    """Those of one audit.

    Args:
        audits: of the page.
        audit: one of them.
        budgets: whether attacks stand at all their budgets, or at the one at which models are compared.
    """
    found = []
    for series in strongest(audits):
        for point in ladder(audit, series):
            if point.probe is not None and (budgets or point.eps == telling(audits, series)):
                name = Cell(series.set, f"{series.name}, {amount(point.eps, series.unit)}")
                found.append(Change(series.probe, point.eps, name, point.probe))
    corruptions = audit.summary.corruptions
    last = max((entry.severity for entry in corruptions), default=0)
    return found + [
        Change(entry.corruption, float(entry.severity), Cell(entry.title, f"severity {last}"), entry)
        for entry in corruptions
        if entry.severity == last
    ]
