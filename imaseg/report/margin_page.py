"""One self-contained HTML page from a margin folder."""

from __future__ import annotations

import json
from pathlib import Path

from imaseg.report import margin_methods, margin_slides, margin_tables, margin_voxels, margin_words
from imaseg.report.frame import render_page, write_page
from imaseg.report.margin_curves import survival_figures
from imaseg.report.margin_read import Margins, read_margins
from imaseg.report.margin_scatter import scatter_figures
from imaseg.report.pictures import outline_colour


def write_margin_page(folder: Path, out: Path) -> Path:
    """Write the page of a margin folder.

    Args:
        folder: that `imaseg margin` wrote.
        out: the HTML file to write; its folder is made if need be.

    Returns:
        `out`.

    Raises:
        InputError: if the folder lacks a readable `margins.json`, a case is malformed, or `out` is a folder.
    """
    write_page(out, render(read_margins(folder)))
    return out


def render(margins: Margins) -> str:
    """The page as text; the same folder gives the same text."""
    verdict, good = margin_words.verdict(margins)
    return render_page(
        "margin_template.html.j2",
        styles=("margin_style.css",),
        scripts=("draw.js", "margin_slides.js"),
        title=f"Margins: {margins.run.model.name}",
        verdict=verdict,
        good=good,
        sentences=margin_words.sentences(margins),
        notices=margin_words.notices(margins),
        curves=survival_figures(margins),
        results=margin_tables.results_table(margins),
        weakest=margin_tables.weakest_table(margins),
        all_cases=margin_tables.cases_table(margins),
        scatters=scatter_figures(margins),
        viewers=margin_slides.viewers(margins),
        classes=[(name, outline_colour(int(k))) for k, name in margins.run.data.labels.items()],
        colours=margin_slides.COLOURS,
        voxel_table=margin_voxels.structure_table(margins),
        distances=margin_voxels.distance_figures(margins),
        comparisons=margin_voxels.comparisons(margins),
        method=margin_methods.paragraph(margins),
        works=margin_methods.works(margins),
        limits=margin_words.limits(margins),
        provenance=margin_methods.provenance(margins.run),
        settings=json.dumps(margins.run.settings, indent=2),
    )
