"""Links that lead out of the documentation become names of files on the site, and the example's page is made."""

from __future__ import annotations

import posixpath
import re
from functools import cache
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

from imaseg.report import read_audits
from imaseg.report.page import render

_LINK = re.compile(r"\[([^\]]+)\]\((?!https?:|#|mailto:)([^)\s]+)\)")
_AUDITS = Path(__file__).parent / "example" / "audits"


def on_files(files: Any, config: Any, **_: Any) -> Any:
    """Add the page of the example, as this version makes it from the audits that are kept."""
    files.append(File.generated(config, "example/report.html", content=_example()))
    return files


@cache
def _example() -> str:
    return render(read_audits([_AUDITS / name for name in ("standard", "ima")]))


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Replace each link to a file that lies above the pages."""

    def replaced(link: re.Match[str]) -> str:
        text, target = link.groups()
        path = posixpath.normpath(posixpath.join(posixpath.dirname(page.file.src_uri), target))
        if not path.startswith("../"):
            return link.group()
        name = path.removeprefix("../").partition("#")[0]
        return f"`{name}`" if text.strip("`") in name else f"{text} (`{name}`)"

    return _LINK.sub(replaced, markdown)
