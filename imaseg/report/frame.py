"""A template and its values become one self-contained page: no network, written whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from imaseg.errors import InputError

_HERE = Path(__file__).parent


def render_page(
    template: str, *, styles: tuple[str, ...] = (), scripts: tuple[str, ...] = ("draw.js",), **values: Any
) -> str:
    """The page as text; the same values give the same text.

    Args:
        template: name of a template of this folder that extends `frame.html.j2`.
        styles: names of style sheets of this folder that follow `style.css`.
        scripts: names of script files of this folder, which run in this order after Plotly.
        values: for the template.
    """
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["plot"] = _embed
    page = environment.get_template(template).render(
        style=Markup("\n").join(_asset(name) for name in ("style.css", *styles)),
        scripts=[Markup(get_plotlyjs()), *(_asset(name) for name in scripts)],
        **values,
    )
    return page + "\n"


def write_page(out: Path, page: str) -> None:
    """Write a page, whole or not at all; its folder is made if need be.

    Raises:
        InputError: if `out` is a folder.
    """
    if out.is_dir():
        msg = f"{out} must be a file, got a folder. Name a file such as {out / 'report.html'}."
        raise InputError(msg)
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


def _asset(name: str) -> Markup:
    return Markup((_HERE / name).read_text(encoding="utf-8"))


def _embed(plot: dict[str, Any]) -> Markup:
    """JSON for a script element: no character that could end the element."""
    text = json.dumps(plot, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)
