"""`prepare.html`: every case as a small picture with contours, its verdict, and the figures of the cohort."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape

from imaseg.data.cohort.notes import Notes
from imaseg.data.cohort.thumbnail import COLOURS
from imaseg.data.files import write_text

_ORDER = {"quarantined": 0, "flagged": 1, "ok": 2}
_LEGEND = 16
_PICTURES = 10_000_000
"""Most bytes of pictures on the page (base64): thousands of cases must stay a page that a browser opens."""


def write_sheet(path: Path, content: Mapping[str, Any], labels: Mapping[int, str], notes: Notes) -> None:
    """Write the page atomically, unless the file already holds the same text.

    Args:
        path: path of the page.
        content: content of `prepare.json`.
        labels: names by value.
        notes: tells where the pictures are.
    """
    cases = sorted((_case(record) for record in content["cases"]), key=lambda case: _ORDER[case["verdict"]])
    counts = {verdict: sum(case["verdict"] == verdict for case in cases) for verdict in _ORDER}
    listed = [case for case in _with_pictures(cases, notes) if case["verdict"] != "ok" or case["picture"] is not None]
    environment = Environment(
        loader=PackageLoader("imaseg.data.cohort", "."), autoescape=select_autoescape(default=True), trim_blocks=True
    )
    named = [
        {"value": value, "name": name, "colour": COLOURS[(value - 1) % len(COLOURS)]}
        for value, name in labels.items()
        if value > 0
    ]
    text = environment.get_template("sheet.html.j2").render(
        name=Path(content["source"]).name,
        cases=listed,
        total=len(cases),
        without_picture=sum(case["picture"] is None for case in listed),
        counts=counts,
        labels=named[:_LEGEND],
        more=len(named) - _LEGEND,
        remarks=[*content["remarks"], content["files"]["summary"]],
        fingerprint=content["fingerprint"],
        names={str(value): name for value, name in labels.items()},
        version=content["imaseg"],
    )
    write_text(path, text)


def _case(record: Mapping[str, Any]) -> dict[str, Any]:
    verdict = "quarantined" if record["status"] != "ok" else "flagged" if record["flags"] else "ok"
    return {"id": record["id"], "verdict": verdict, "sentences": [*record["reasons"], *record["flags"]]}


def _with_pictures(cases: Sequence[dict[str, Any]], notes: Notes) -> Iterator[dict[str, Any]]:
    """Each case with its picture, empty if there is none to show, None where the page has no room for more."""
    room = _PICTURES
    for case in cases:
        path = notes.thumbnail(case["id"])
        size = path.stat().st_size * 4 // 3 if path.is_file() else 0
        room -= size
        read = base64.b64encode(path.read_bytes()).decode() if size and room >= 0 else ""
        yield case | {"picture": None if room < 0 else read}
