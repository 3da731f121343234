"""One self-contained HTML page from audit folders."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from imaseg.report import methods, tables, words, worst
from imaseg.report.compare import strongest
from imaseg.report.curves import curve_figures
from imaseg.report.frame import render_page, write_page
from imaseg.report.margins import margin_figures
from imaseg.report.notices import limits, notices
from imaseg.report.numerals import listing
from imaseg.report.read import Audit, read_audits


def write_report(folders: Sequence[Path], out: Path) -> Path:
    """Write one HTML page about one audit, or several side by side.

    Args:
        folders: audit folders; the first is the reference that the others are compared with.
        out: the HTML file to write; its folder is made if need be.

    Returns:
        `out`.

    Raises:
        InputError: if a folder lacks a readable `summary.json` or `run.json`, a slice is broken, or `out` is a folder.
    """
    out = Path(out)
    write_page(out, render(read_audits(folders)))
    return out


def render(audits: Sequence[Audit]) -> str:
    """The page as text; the same audits give the same text."""
    return render_page(
        "template.html.j2",
        title=f"Robustness audit: {listing([audit.name for audit in audits])}",
        audits=audits,
        curves=curve_figures(audits),
        margins=margin_figures(audits),
        results=[tables.results_table(audits, series) for series in strongest(audits)],
        clean=tables.clean_table(audits),
        probes=tables.probes_table(audits),
        budgets=tables.budget_table(audits),
        galleries=worst.galleries(audits),
        classes=worst.legend(audits),
        sentences=words.summary(audits),
        verdict=words.validity(audits),
        failed=[(audit.name, check) for audit in audits for check in audit.summary.validity if check.ok is False],
        notices=notices(audits),
        limits=limits(audits),
        method=methods.paragraph(audits),
        works=methods.works(audits),
        provenance=methods.provenance(audits),
        plans=[(audit.name, json.dumps(audit.run.plan, indent=2)) for audit in audits if audit.run.plan],
    )
