"""The page of a prepared cohort: pictures as long as there is room, and nobody left out in silence."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from imaseg.data.cohort import sheet
from imaseg.data.cohort.notes import Notes
from imaseg.data.cohort.sheet import write_sheet


def _record(number: int, flags: list[str]) -> dict[str, Any]:
    return {"id": f"case_{number}", "status": "ok", "reasons": [], "flags": flags}


def _page(folder: Path, records: list[dict[str, Any]]) -> str:
    notes = Notes(folder)
    for record in records:
        path = notes.thumbnail(record["id"])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 300)
    content = {
        "source": "cohort",
        "cases": records,
        "remarks": [],
        "files": {"summary": ""},
        "fingerprint": None,
        "imaseg": "0",
    }
    write_sheet(folder / "prepare.html", content, {1: "one"}, notes)
    return (folder / "prepare.html").read_text()


def test_pictures_end_where_the_room_does_and_the_page_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sheet, "_PICTURES", 1000)  # of 400 bytes each: two
    page = _page(tmp_path, [_record(i, ["odd"] if i > 6 else []) for i in range(10)])
    assert re.findall(r'alt="slices of (case_\d)"', page) == ["case_7", "case_8"]  # remarks come first
    assert "case_9" in page
    assert "case_0" not in page
    text = " ".join(page.split())
    assert "10 cases" in text
    assert "7 prepared without remark, 3 prepared but flagged" in text
    assert "pictures of 2 cases" in text
    assert "1 more with remarks stand below in words" in text
    assert "7 without remark are left out here and stand in prepare.json" in text


def test_a_small_cohort_is_shown_whole(tmp_path: Path) -> None:
    page = _page(tmp_path, [_record(i, []) for i in range(3)])
    assert page.count("<img ") == 3
    assert "room for" not in page
