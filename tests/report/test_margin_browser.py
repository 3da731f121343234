"""The page of margins in a real browser: every plot draws, the slider moves the slices, the console stays silent."""

from __future__ import annotations

import re
import shutil

import pytest

from imaseg.report.margin_page import write_margin_page
from tests.report.margin_folder import write_margins
from tests.report.test_browser import BROWSERS, visit

MOVE = """<script>
addEventListener("load", () => {
  const range = document.querySelector("input[type=range]");
  range.value = "5";
  range.dispatchEvent(new Event("input"));
});
</script></body>"""


@pytest.mark.slow
def test_plots_draw_and_the_slider_moves_its_own_slices(tmp_path):
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if browser is None:
        pytest.skip(f"no Chromium: none of {', '.join(BROWSERS)} is on the PATH")
    page = write_margin_page(write_margins(tmp_path / "a", maps=2), tmp_path / "margins.html")
    page.write_text(page.read_text(encoding="utf-8").replace("</body>", MOVE), encoding="utf-8")
    dom, console = visit(browser, page, tmp_path / "profile")
    assert console == []
    plots = re.findall(r'<div data-plot="[^"]+" class="[^"]*js-plotly-plot', dom)
    assert len(plots) == len(re.findall(r"data-plot=", dom.split("<script>")[0])) == 2 + 2 * 2 + 1
    slides = re.findall(r'data-slide="slice (\d) of 6 [^"]*"( hidden="")?', dom)
    assert next(int(place) for place, hidden in slides if not hidden) == 6
    assert sum(not hidden for _, hidden in slides) == 2
    said = re.findall(r"<output[^>]*>([^<]*)</output>", dom)
    assert said[0].startswith("slice 6 of 6 (z = 9)")
    assert not said[1].startswith("slice 6 of 6")
    assert re.findall(r'aria-valuetext="([^"]*)"', dom) == said
