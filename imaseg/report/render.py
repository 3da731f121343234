"""Values become one self-contained page: no network, written whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from imaseg.data.files import whole_file
from imaseg.errors import InputError

_STYLE = Path(__file__).parent / "style"


def render_page(**values: Any) -> str:
    """The page as text; the same values give the same text.

    Args:
        values: for `style/page.html.j2`.
    """
    environment = Environment(
        loader=FileSystemLoader(_STYLE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["plot"] = _embed
    page = environment.get_template("page.html.j2").render(
        style=_asset("page.css"), scripts=[Markup(get_plotlyjs()), _asset("draw.js"), _asset("slides.js")], **values
    )
    return page.lstrip() + "\n"


def write_page(out: Path, page: str) -> None:
    """Write a page, whole or not at all; its folder is made if need be.

    Raises:
        InputError: if `out` is a folder.
    """
    if out.is_dir():
        msg = f"{out} must be a file, got a folder. Name a file such as {out / 'report.html'}."
        raise InputError(msg)
    with whole_file(out) as part:
        part.write_text(page, encoding="utf-8")


def _asset(name: str) -> Markup:
    return Markup((_STYLE / name).read_text(encoding="utf-8"))


def _embed(plot: dict[str, Any]) -> Markup:
    """JSON for a script element: no character that could end the element."""
    text = json.dumps(plot, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)
