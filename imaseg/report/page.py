"""One self-contained HTML page from what `imaseg audit`, `attack` or `margin` wrote."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from imaseg.report.audits import Audits, read_audits
from imaseg.report.numerals import listing
from imaseg.report.render import render_page, write_page
from imaseg.report.sections import build_sections
from imaseg.report.verdict import failed_checks, is_sound, verdict_text


def write_report(folders: Sequence[Path], out: Path) -> Path:
    """Write one HTML page about one audit, or several side by side.

    Args:
        folders: audit folders; the first is the reference that the others are compared with.
        out: the HTML file to write; its folder is made if need be.

    Returns:
        `out`.

    Raises:
        InputError: if a folder lacks a readable `summary.json` or `run.json`, a picture's file is broken, or `out` is a
            folder.
    """
    out = Path(out)
    write_page(out, render(read_audits(folders)))
    return out


def render(audits: Audits) -> str:
    """The page as text; the same audits give the same text."""
    return render_page(
        title=f"Robustness audit: {listing([audit.name for audit in audits])}",
        sections=build_sections(audits),
        verdict=verdict_text(audits),
        sound=is_sound(audits),
        failed=failed_checks(audits),
    )
