"""One self-contained HTML page from audit folders."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from imaseg.report import checks, corruptions, methods, tables, words, worst
from imaseg.report.calibration import calibration_figures
from imaseg.report.certified import certified_tables
from imaseg.report.compare import strongest
from imaseg.report.curves import curve_figures
from imaseg.report.differences import difference_table, main_rows, paired_rows
from imaseg.report.first import first_to_fail
from imaseg.report.frame import render_page, write_page
from imaseg.report.margin_slides import COLOURS
from imaseg.report.margins import margin_figures
from imaseg.report.metrics import shown_metrics
from imaseg.report.notices import limits, notices
from imaseg.report.numerals import listing
from imaseg.report.provenance import provenance
from imaseg.report.read import Audit, read_audits
from imaseg.report.sizes import size_table
from imaseg.report.tradeoff import tradeoff_figures
from imaseg.report.voxels import voxel_viewers


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
    lead = strongest(audits)
    main = words.main_series(audits, lead)
    shown = worst.galleries(audits)
    differences = paired_rows(audits)
    main_differences = main_rows(audits, differences)
    values = {
        "tradeoffs": tradeoff_figures(audits),
        "curves": curve_figures(audits),
        "margins": margin_figures(audits),
        "viewers": voxel_viewers(audits, main),
        "colours": COLOURS,
        "heat_map": corruptions.heat_map(audits),
        "heat_scale": corruptions.SCALE,
        "corruptions": corruptions.corruption_table(audits),
        "degradation": corruptions.degradation_table(audits),
        "certified": certified_tables(audits),
        "calibration": calibration_figures(audits),
        "sizes": size_table(audits),
        "differences": difference_table(main_differences),
        "all_differences": difference_table(differences if len(differences) > len(main_differences) else []),
        "results": [tables.results_table(audits, series) for series in lead],
        "clean": tables.clean_table(audits),
        "meanings": [one.meaning for one in shown_metrics(audits) if one.meaning],
        "probes": tables.probes_table(audits),
        "budgets": tables.budget_table(audits),
        "first": first_to_fail(audits, main, worst.anchors(shown)),
        "galleries": shown,
        "checks": checks.panel(audits),
    }
    return render_page(
        "template.html.j2",
        styles=("margin_style.css", "audit_style.css"),
        scripts=("draw.js", "margin_slides.js"),
        title=f"Robustness audit: {listing([audit.name for audit in audits])}",
        audits=audits,
        sections=_sections(values),
        classes=worst.legend(audits),
        sentences=words.summary(audits),
        verdict=words.validity(audits),
        sound=checks.sound(audits),
        failed=checks.failed(audits),
        notices=notices(audits),
        limits=limits(audits),
        method=methods.paragraph(audits),
        works=methods.works(audits),
        provenance=provenance(audits),
        plans=[(audit.name, json.dumps(audit.run.plan, indent=2)) for audit in audits if audit.run.plan],
        **values,
    )


_SECTIONS = (
    ("summary", "Summary", None),
    ("tradeoff", "Trade-off", "tradeoffs"),
    ("results", "Results", None),
    ("curves", "Dice against eps", None),
    ("margins", "Margins", None),
    ("voxels", "Voxel margins", "viewers"),
    ("certified", "Certified radii", "certified"),
    ("corruptions", "Corruptions", "heat_map"),
    ("worst", "Worst cases", None),
    ("clean", "Clean metrics", None),
    ("sizes", "By size", "sizes"),
    ("calibration", "Calibration", "calibration"),
    ("validity", "Validity", None),
    ("budgets", "Budgets", None),
    ("methods", "Methods", None),
    ("limits", "Limits", None),
    ("provenance", "Provenance", None),
)


def _sections(values: dict[str, Any]) -> list[tuple[str, str]]:
    """Anchor and name of each section of this page, in its order; those of parts that no audit holds are left out."""
    return [(key, name) for key, name, part in _SECTIONS if part is None or values[part]]
