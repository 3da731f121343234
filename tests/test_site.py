"""The documentation builds as a site without a warning, and its pages fetch nothing."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp("site")
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "-q",
        "-f",
        str(ROOT / "mkdocs.yml"),
        "-d",
        str(out),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def test_every_page_is_there_and_the_reference_holds_the_public_names(site):
    for path in (ROOT / "docs").rglob("*.md"):
        page = path.relative_to(ROOT / "docs").with_suffix("")
        assert (site / ("" if page.name == "index" else page) / "index.html").is_file(), page
    attacks = (site / "reference" / "attacks" / "index.html").read_text()
    assert "Projected gradient ascent" in attacks
    training = (site / "reference" / "training" / "index.html").read_text()
    for name in ("IMA", "PublishedIMA", "OneOf", "TRADES", "PGDTraining"):
        assert f'id="imaseg.training.{name}"' in training


def test_pages_fetch_nothing(site):
    resource = re.compile(
        r'<(?:script|img|iframe|source)[^>]*\ssrc="(https?:)?//|<link[^>]*\shref="(?:https?:)?//[^>]*rel="stylesheet'
    )
    fetching = [str(page) for page in site.rglob("*.html") if resource.search(page.read_text())]
    assert fetching == []
    assert [
        str(sheet) for sheet in site.rglob("*.css") if re.search(r"@import|url\((?:https?:)?//", sheet.read_text())
    ] == []


def test_links_to_files_beside_the_documentation_are_named(site):
    report = (site / "security" / "index.html").read_text()
    assert "SECURITY.md" in report
    assert 'href="../../SECURITY.md"' not in report


def test_the_example_is_made_by_the_build_from_audits_that_stay_out_of_the_site(site):
    page = site / "example" / "report.html"
    assert "Robustness audit: standard and ima" in page.read_text()
    assert page.stat().st_size <= 3.5e6
    assert sorted(path.name for path in (site / "example").iterdir()) == ["index.html", "report.html"]
    beside = (site / "example" / "index.html").read_text()
    assert 'href="report.html"' in beside
    for name in ("standard", "ima"):  # the figures beside it are those of the page
        summary = json.loads((ROOT / "docs" / "example" / "audits" / name / "summary.json").read_text())
        assert f"<td>{summary['foreground_mean']['dice']:.3f}</td>" in beside
