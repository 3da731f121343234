"""The README's blocks run, and its promises about itself hold."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

README = (Path(__file__).resolve().parents[1] / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_snippet_runs_as_it_stands(tmp_path):
    (block,) = BLOCKS
    done = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = re.findall(r'print\("(.+?):".*?\)  # (tensor.*)', block)
    lines = done.stdout.splitlines()
    assert len(told) == len(lines) == block.count("print(")
    for (name, value), line in zip(told, lines, strict=True):
        assert line.startswith(f"{name}: tensor(["), "results are named"
        for written, found in zip(value[8:-2].split(", "), line.partition("([")[2][:-2].split(", "), strict=True):
            assert written == found or float(found) == pytest.approx(float(written), abs=0.01)


def test_the_command_that_shows_an_example_works(tmp_path, monkeypatch):
    """It stands in the README and beside the example."""
    from imaseg.cli.main import app

    shown = "imaseg report docs/example/audits/standard docs/example/audits/ima --out example.html"
    assert shown in README
    assert shown in (ROOT / "docs" / "example" / "index.md").read_text()
    shutil.copytree(ROOT / "docs" / "example" / "audits", tmp_path / "docs" / "example" / "audits")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, shown.split()[1:])
    assert done.exit_code == 0, done.output
    assert "Robustness audit: standard and ima" in (tmp_path / "example.html").read_text()


def test_the_first_block_comes_early_and_the_whole_is_short():
    before, _, _ = README.partition("```")
    assert len(README.splitlines()) <= 100
    assert len(before.splitlines()) <= 40
    assert len(before.split()) <= 150


ROOT = Path(__file__).resolve().parents[1]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "benchmarks" / "README.md"]


GENERATED = ROOT / "docs" / "example" / "report.html"
"""Made by the site's build."""


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_local_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
    local = [page.parent / link for link in links if not link.startswith("http")]
    assert [link for link in local if not link.exists() and link != GENERATED] == []


def test_every_benchmark_is_in_the_index():
    index = (ROOT / "benchmarks" / "README.md").read_text()
    scripts = [path.name for path in (ROOT / "benchmarks").glob("*.py")]
    assert scripts
    assert [name for name in scripts if f"`{name}`" not in index] == []
    assert set(re.findall(r"`(\w+\.py)`", index)) <= set(scripts)


def test_pages_that_the_index_names_show_the_command():
    """Where figures are, there stands what made them."""
    index = (ROOT / "benchmarks" / "README.md").read_text()
    rows = re.findall(r"^\| `(\w+)\.py` \| .+ \| (.+) \|$", index, re.MULTILINE)
    assert len(rows) > 20
    for script, places in rows:
        pages = [(ROOT / "benchmarks" / link).read_text() for link in re.findall(r"\]\(([^)#]+)", places)]
        assert pages or places == "-", script
        assert places == "-" or any(f"{script}.py" in page for page in pages), script


def test_ci_runs_the_test_command():
    script = (Path(__file__).resolve().parents[1] / ".ci" / "run").read_text()
    extraction = next(line for line in script.splitlines() if line.startswith("command="))
    done = subprocess.run(
        ["bash", "-c", f'{extraction}; echo "$command"'],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).resolve().parents[1],
    )
    assert done.stdout.startswith("python -m pip install")
    assert "python -m pytest" in done.stdout
