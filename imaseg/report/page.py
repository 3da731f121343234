"""One self-contained HTML page from audit folders: no network, written whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from imaseg.errors import InputError
from imaseg.report import methods, tables, words, worst
from imaseg.report.compare import strongest
from imaseg.report.curves import curve_figures
from imaseg.report.margins import margin_figures
from imaseg.report.notices import limits, notices
from imaseg.report.numerals import listing
from imaseg.report.read import Audit, read_audits

_HERE = Path(__file__).parent


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
    if out.is_dir():
        msg = f"{out} must be a file, got a folder. Name a file such as {out / 'report.html'}."
        raise InputError(msg)
    _write(out, render(read_audits(folders)))
    return out


def render(audits: Sequence[Audit]) -> str:
    """The page as text; the same audits give the same text."""
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["plot"] = _embed
    page = environment.get_template("template.html.j2").render(
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
        failed=[(audit.name, check) for audit in audits for check in audit.summary.validity if not check.ok],
        notices=notices(audits),
        limits=limits(audits),
        method=methods.paragraph(audits),
        works=methods.works(audits),
        provenance=methods.provenance(audits),
        plans=[(audit.name, json.dumps(audit.run.plan, indent=2)) for audit in audits if audit.run.plan],
        style=Markup((_HERE / "style.css").read_text(encoding="utf-8")),
        draw=Markup((_HERE / "draw.js").read_text(encoding="utf-8")),
        plotly=Markup(get_plotlyjs()),
    )
    return page + "\n"


def _embed(plot: dict[str, Any]) -> Markup:
    """JSON for a script element: no character that could end the element."""
    text = json.dumps(plot, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _write(out: Path, page: str) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{out.name}.", suffix=".part", dir=out.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(page)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(out)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
