"""The page in a real browser: every plot draws and the console stays silent."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from imaseg.report import write_report

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--virtual-time-budget=10000",
    "--enable-logging=stderr",
)


@pytest.fixture(scope="module")
def browser():
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no Chromium: none of {', '.join(BROWSERS)} is on the PATH")
    return found


def visit(browser, page, profile):
    done = subprocess.run(
        [browser, *FLAGS, f"--user-data-dir={profile}", "--dump-dom", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.slow
def test_every_plot_draws_without_a_console_message(browser, write_audit, tmp_path):
    hostile = "<b>bold</b></script>"

    def edit(summary, run):
        summary["model"]["name"] = hostile

    folders = [write_audit("standard", cases=4), write_audit("ima", cases=4, slope=9.0, edit=edit)]
    page = write_report(folders, tmp_path / "report.html")
    dom, console = visit(browser, page, tmp_path / "profile")
    assert console == []
    plots = re.findall(r'<div data-plot="[^"]+" class="[^"]*js-plotly-plot', dom)
    assert len(plots) == 6
    assert len(re.findall(r'<svg class="main-svg"', dom)) >= 6
    assert len(re.findall(r'class="trace scatter', dom)) >= 6 * 2
    assert "&lt;b&gt;bold&lt;/b&gt;" in dom
    assert "<b>bold</b>" not in dom.split("<script")[0]


@pytest.mark.slow
def test_the_check_sees_a_broken_page(browser, tmp_path):
    page = tmp_path / "broken.html"
    page.write_text("<!DOCTYPE html><title>x</title><script>throw new Error('broken')</script>")
    _, console = visit(browser, page, tmp_path / "profile")
    assert len(console) == 1
