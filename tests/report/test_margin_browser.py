"""The page of margins in a real browser: every plot draws, the slider moves the slices, the console stays silent."""

from __future__ import annotations

import pytest

from imaseg.report.margin_page import write_margin_page
from tests.report.margin_folder import write_margins
from tests.report.test_browser import MARKS, SHOWN


@pytest.mark.slow
def test_plots_draw_and_the_slider_moves_its_own_slices(chromium, tmp_path):
    page = write_margin_page(write_margins(tmp_path / "a", maps=2), tmp_path / "margins.html")
    chromium.look()
    chromium.open(page)
    assert chromium.console == []
    plots = chromium.ask(MARKS)
    assert len(plots) == 2 + 2 * 2 + 1
    assert all(plot["width"] > 200 and plot["marks"] for plot in plots)
    chromium.ask("document.querySelector('[data-slides] input').focus()")
    chromium.press("End")
    moved, other = chromium.ask(SHOWN)
    assert moved["said"].startswith("slice 6 of 6 (z = 9)")
    assert moved["value"] == moved["said"]
    assert not other["said"].startswith("slice 6 of 6")
