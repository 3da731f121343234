"""One self-contained HTML page from what `imaseg audit`, `attack` or `margin` wrote."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from imaseg.data.files import whole_file
from imaseg.errors import InputError
from imaseg.report.audits import Audits, labels_are_predictions, read_audits
from imaseg.report.blocks import Explorer
from imaseg.report.glossary import Explainer
from imaseg.report.pixels import sized_as_stated
from imaseg.report.sections import build_sections
from imaseg.report.sections.context.validity import failed_checks, is_sound, verdict_text
from imaseg.report.wording import listing

_STYLE = Path(__file__).parent / "style"


def write_report(folders: Sequence[Path], out: Path) -> Path:
    """Write one HTML page about one audit, or several side by side, whole or not at all.

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
    page = render(read_audits(folders))
    if out.is_dir():
        msg = f"{out} must be a file, got a folder. Name a file such as {out / 'report.html'}."
        raise InputError(msg)
    with whole_file(out) as part:
        part.write_text(page, encoding="utf-8")
    return out


def render(audits: Audits) -> str:
    """The page as text; the same audits give the same text."""
    jinja = Environment(
        loader=FileSystemLoader(_STYLE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    jinja.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    explainer = Explainer(own=labels_are_predictions(audits))
    jinja.filters["explained"] = explainer
    sections = sized_as_stated(audits, build_sections(audits))
    explored = any(isinstance(block, Explorer) for section in sections for block in section.blocks)
    page = jinja.get_template("page.html.j2").render(
        title=f"Robustness audit: {listing(audit.name for audit in audits)}",
        sections=sections,
        verdict=verdict_text(audits),
        sound=is_sound(audits),
        failed=failed_checks(audits),
        style=_asset("page.css"),
        terms=explainer.used,
        packed={"plotly": packed("plotly-basic.min.js")} | ({"niivue": packed("niivue.umd.js")} if explored else {}),
        scripts=[
            _asset(f"{name}.js") for name in ("unpack", "draw", "slides", *(["outline", "explore"] if explored else []))
        ],
    )
    return page.lstrip() + "\n"


def _asset(name: str) -> Markup:
    return Markup((_STYLE / name).read_text(encoding="utf-8"))


def packed(library: str) -> str:
    """A library of `style/vendor`, gzipped, in base64; the page unpacks it."""
    return base64.b64encode((_STYLE / "vendor" / f"{library}.gz").read_bytes()).decode("ascii")
