"""A section that somebody adds as one file in `report/sections/`: it shows in its place and joins in the summary."""

from __future__ import annotations

import sys

import pytest

from imaseg.report import sections, write_report
from imaseg.report.page import render
from tests.report.parser import Page
from tests.report.vary import vary

CALLS = '''"""Passes of the model per case."""

from imaseg.report.blocks import Section, Sentence, table


def build(audits):
    """Forward passes of every case; nothing where nothing was attacked."""
    rows = [
        {"Model": audit.name, "Case": record.case, "Passes": record.forward_calls}
        for audit in audits
        for record in audit.cases
    ]
    if not any(audit.summary.probes for audit in audits):
        return None
    return Section(
        115, "calls", "Passes of the model", [table("Forward passes by case", rows)],
        lead="How often it was asked.",
        sentences=[Sentence(f"The model was asked {sum(row['Passes'] for row in rows)} times.")],
        notices=["Passes cost time."],
        methods=["Passes of the model were counted (Doe 2026)."],
        works=["Doe J. On counting. 2026."],
        limits=["A pass says nothing of its length."],
    )
'''


@pytest.fixture(autouse=True)
def _added(tmp_path, monkeypatch):
    (tmp_path / "calls.py").write_text(CALLS)
    monkeypatch.setattr(sections, "__path__", [*sections.__path__, str(tmp_path)])
    yield
    sys.modules.pop("imaseg.report.sections.calls", None)
    vars(sections).pop("calls", None)


def test_it_shows_on_the_page_in_its_place(real_audit, tiny, tmp_path):
    page = Page(write_report([real_audit], tmp_path / "page.html").read_text())
    keys = [attributes["id"] for attributes in page.all("section")]
    assert keys[keys.index("clean") : keys.index("clean") + 2] == ["clean", "calls"]
    assert [key for key in keys if key in ("summary", "results", "calls", "methods")] == [
        "summary", "results", "calls", "methods"
    ]  # fmt: skip
    orders = [section.order for section in sections.build_sections([tiny])]
    assert orders == sorted(orders)
    assert "#calls" in [attributes.get("href") for attributes in page.all("a")]
    assert "Passes of the model How often it was asked." in page.text
    for record in tiny.cases:
        assert f"{record.case} {record.forward_calls}" in page.text


def test_what_it_contributes_stands_where_a_reader_looks_for_it(tiny):
    built = {section.key: section for section in sections.build_sections([tiny])}
    total = sum(record.forward_calls for record in tiny.cases)
    for key, text in {
        "summary": f"The model was asked {total} times.",
        "methods": "Passes of the model were counted (Doe 2026).",
        "limits": "A pass says nothing of its length.",
    }.items():
        assert text in str(built[key].blocks)
    assert "Passes cost time." in str(built["summary"].blocks)
    assert "Doe J. On counting. 2026." in str(built["methods"].blocks)


def test_it_is_left_out_where_the_audits_hold_nothing_for_it(tiny):
    page = render([vary(tiny, probes=[])])
    assert "Passes of the model" not in page
    assert "Passes cost time." not in page
