"""The page in a real browser: plots draw, keys move slices, nothing overflows, all text stands out, it prints."""

from __future__ import annotations

import time

import pytest

from imaseg.report.page import render
from tests.report.vary import vary

HOSTILE = "<b>bold</b></script>"
MARKS = """
[...document.querySelectorAll("[data-plot]")].map(holder => {
  const box = holder.querySelector("svg.main-svg").getBoundingClientRect();
  const drawn = [...holder.querySelectorAll(".scatterlayer .trace path")].filter(path => path.getAttribute("d"));
  return { key: holder.dataset.plot, width: box.width, height: box.height, marks: drawn.length };
})
"""
SHOWN = """
[...document.querySelectorAll("[data-slides]")].map(viewer => ({
  said: viewer.querySelector("output").textContent,
  value: viewer.querySelector("input").getAttribute("aria-valuetext"),
  pictures: [...viewer.querySelectorAll("img")].filter(one => one.getClientRects().length).map(one => one.src),
}))
"""
CONTRAST = """
(() => {
  const parse = text => { const n = text.match(/[\\d.]+/g).map(Number); return n.length > 3 ? n : [...n, 1]; };
  const over = (top, below) => [0, 1, 2].map(k => top[3] * top[k] + (1 - top[3]) * below[k]).concat(1);
  const light = colour => colour.slice(0, 3).map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, k) => sum + v * [0.2126, 0.7152, 0.0722][k], 0);
  const paper = element => {
    const layers = [];
    for (let one = element; one; one = one.parentElement) layers.push(parse(getComputedStyle(one).backgroundColor));
    return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255, 1]);
  };
  const found = [];
  for (const element of document.body.querySelectorAll("*")) {
    if (["SCRIPT", "STYLE", "NOSCRIPT", "OPTION"].includes(element.tagName)) continue;
    const text = [...element.childNodes].filter(n => n.nodeType === 3).map(n => n.data.trim()).join("");
    const style = getComputedStyle(element);
    if (!text || !element.getClientRects().length || style.visibility === "hidden") continue;
    const below = paper(element);
    const ink = over(parse(element instanceof SVGElement ? style.fill : style.color), below);
    const [high, low] = [light(ink), light(below)].sort((a, b) => b - a);
    found.push({ ratio: (high + 0.05) / (low + 0.05), text: text.slice(0, 60), tag: element.tagName });
  }
  return found.sort((a, b) => a.ratio - b.ratio);
})()
"""


@pytest.fixture(scope="module")
def page(tiny, tmp_path_factory):
    """Two models, one with a hostile name, with every section and a failed check."""
    checks = [check.model_copy(update={"ok": False}) for check in tiny.summary.validity]
    path = tmp_path_factory.mktemp("pages") / "report.html"
    path.write_text(render([tiny, vary(tiny, HOSTILE, validity=checks)]), encoding="utf-8")
    return path


@pytest.fixture
def opened(chromium, page):
    """The browser on that page, on a large screen; loaded anew only where another page was open."""
    chromium.look()
    if chromium.ask("location.href") != page.as_uri():
        chromium.open(page)
    return chromium


def test_every_plot_draws_without_a_console_message(opened):
    assert opened.console == []
    plots = opened.ask(MARKS)
    # two trade-offs, five probes, margins of two sets and two structures, a distance per model, two calibrations,
    # volumes of two structures
    assert len(plots) == 2 + 5 + 4 + 2 + 2 + 2
    assert all(plot["width"] > 200 and plot["height"] > 200 and plot["marks"] >= 2 for plot in plots), plots
    assert opened.ask("document.querySelectorAll('b').length") == 0
    assert opened.ask("document.querySelector('h1').textContent").endswith(HOSTILE)


def test_keys_move_the_slices_of_all_models_together(opened):
    before = opened.ask(SHOWN)
    assert len(before) == 2
    opened.ask("document.querySelector('[data-slides] input').focus()")
    opened.press("Home")
    first = opened.ask(SHOWN)
    opened.press("ArrowRight")
    second = opened.ask(SHOWN)
    opened.press("End")
    last = opened.ask(SHOWN)
    for state, place in ((first, 1), (second, 2)):
        assert all(one["said"].startswith(f"slice {place} of ") and one["value"] == one["said"] for one in state)
    assert all(one["said"].split()[1] == one["said"].split()[3] for one in last)
    assert all(len(one["pictures"]) == 3 for one in (*first, *second))
    assert all(a["pictures"] != b["pictures"] for a, b in zip(first, second, strict=True))


def test_slides_of_one_model_move_alone(chromium, tiny, tmp_path):
    path = tmp_path / "one.html"
    path.write_text(render([tiny]), encoding="utf-8")
    chromium.look()
    chromium.open(path)
    assert chromium.console == []
    chromium.ask("document.querySelector('[data-slides] input').focus()")
    before = chromium.ask(SHOWN)
    chromium.press("End")
    moved, other = chromium.ask(SHOWN)
    assert moved["said"].split()[1] == moved["said"].split()[3]
    assert moved["value"] == moved["said"]
    assert other == before[1]


def test_the_warning_stays_in_sight(opened):
    opened.ask("(document.documentElement.style.scrollBehavior = 'auto', scrollTo(0, 5000))")
    opened.settle()
    assert opened.ask("scrollY") > 4000
    assert opened.ask("document.querySelector('.strip').getBoundingClientRect().top") == 0


def test_all_text_stands_out_in_light_and_dark(opened):
    opened.ask("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    for scheme in ("light", "dark"):
        opened.look(scheme=scheme)
        found = opened.ask(CONTRAST)
        assert len(found) > 500
        assert {"text", "TD", "P", "A"} <= {one["tag"] for one in found}
        assert found[0]["ratio"] >= 4.5, (scheme, found[:5])
        paper = opened.ask("getComputedStyle(document.body).backgroundColor")
        assert (paper == "rgb(255, 255, 255)") == (scheme == "light")


def test_print_is_black_on_white_without_controls(opened):
    opened.look(media="print", scheme="dark")
    look = "(s => [s.color, s.backgroundColor])(getComputedStyle(document.body))"
    assert opened.ask(look) == ["rgb(0, 0, 0)", "rgb(255, 255, 255)"]
    for part in ("nav", ".control", ".skip"):
        assert opened.ask(f"getComputedStyle(document.querySelector('{part}')).display") == "none"
    assert opened.ask("getComputedStyle(document.querySelector('.strip')).position") == "static"
    assert opened.ask("document.querySelector('.banner').getBoundingClientRect().height") > 0
    written = opened.print()
    assert written.startswith(b"%PDF")
    assert written.count(b"/Type /Page\n") >= 4


def test_a_phone_needs_no_sideways_scrolling(chromium, page):
    chromium.look(width=390, height=844)
    chromium.open(page)
    assert chromium.ask("[innerWidth, document.documentElement.scrollWidth]") == [390, 390]
    chromium.ask("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    chromium.settle()
    assert chromium.ask("document.documentElement.scrollWidth") == 390
    assert all(plot["width"] <= 390 for plot in chromium.ask(MARKS))


@pytest.mark.parametrize("width", [900, 1100])
def test_the_table_of_margins_needs_no_sideways_scrolling(chromium, page, width):
    chromium.look(width=width, height=900)
    chromium.open(page)
    size = "(table => [table.scrollWidth, table.clientWidth])(document.querySelector('#margins > .scroll'))"
    needed, there = chromium.ask(size)
    assert needed <= there


def test_the_keyboard_shows_where_it_is(chromium, page):
    chromium.look()
    chromium.open(page)
    chromium.press("Tab")
    assert chromium.ask("document.activeElement.className") == "skip"
    assert chromium.ask("document.activeElement.getBoundingClientRect().left") >= 0
    for _ in range(3):
        chromium.press("Tab")
    outline = "(s => [s.outlineStyle, parseFloat(s.outlineWidth)])(getComputedStyle(document.activeElement))"
    style, width = chromium.ask(outline)
    assert chromium.ask("document.activeElement.tagName") == "A"
    assert style == "solid"
    assert width >= 2


SEEN = """
({
  hidden: document.querySelector(".explorer").hidden,
  said: document.querySelector(".explorer output").textContent,
  panes: [...document.querySelectorAll(".panes figure:not([hidden]) figcaption")].map(one => one.textContent),
  lit: [...document.querySelectorAll(".panes figure:not([hidden]) .lines")].map(canvas => {
    const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    return pixels.filter((value, k) => k % 4 === 3 && value).length;
  }),
})
"""


def wait_for(browser, said, tries=200):
    """Ask until it is so; the viewer begins when it comes near the screen."""
    for _ in range(tries):
        if browser.ask(said):
            return
        browser.settle()
        time.sleep(0.1)
    raise AssertionError(said)


def test_the_viewer_shows_whole_cases_and_keys_move_it(opened):
    if not opened.ask("Boolean(document.createElement('canvas').getContext('webgl2'))"):
        pytest.skip("this Chromium has no WebGL2, not even in software")
    opened.ask("document.querySelector('.explorer').scrollIntoView({behavior: 'instant'})")
    wait_for(opened, "document.querySelector('.explorer output').textContent")
    wait_for(opened, "document.querySelectorAll('.panes figure:not([hidden])').length >= 3")
    assert opened.console == []  # reading pixels back, as below, is told there
    before = opened.ask(SEEN)
    assert not before["hidden"]
    assert [text.split(",")[0] for text in before["panes"][:3]] == ["Clean image", "Attacked image", "Difference"]
    assert all(count > 500 for count in before["lit"])
    opened.ask("document.querySelector('[data-axis=\"2\"]').focus()")
    opened.press("ArrowRight")
    after = opened.ask("document.querySelector('.explorer output').textContent")
    place = [int(said.split(" z = ")[1]) for said in (before["said"], after)]
    assert place[1] == place[0] + 1
    assert after.split(", axial")[0] == before["said"].split(", axial")[0]
    opened.console.clear()


def test_outlines_close_and_pixels_that_touch_at_a_corner_stay_apart(opened):
    """Points of an outline lie between pixels: four around one pixel, twelve around nine."""
    trace = "outlinesOf((x, y) => Boolean({}[y][x]), 3, 3).map(line => line.length).sort((a, b) => a - b)"
    assert opened.ask(trace.format([[1, 0, 0], [0, 1, 0], [0, 0, 0]])) == [4, 4]
    assert opened.ask(trace.format([[1, 1, 1], [1, 0, 1], [1, 1, 1]])) == [4, 12]
    assert opened.ask(trace.format([[0, 0, 0]] * 3)) == []


@pytest.mark.parametrize("missing", ["WebGL2", "DecompressionStream"])
def test_an_older_browser_gets_slices_and_a_notice(chromium, page, missing):
    without = {
        "WebGL2": "HTMLCanvasElement.prototype.getContext = () => null",
        "DecompressionStream": "delete window.DecompressionStream",
    }
    script = chromium.send("Page.addScriptToEvaluateOnNewDocument", source=without[missing])
    try:
        chromium.look()
        chromium.open(page)
        assert chromium.ask("document.querySelector('.explorer').hidden")
        assert chromium.ask("document.querySelectorAll('.case img').length") > 8
        drawn = chromium.ask("document.querySelectorAll('svg.main-svg').length") > 0
        assert drawn == (missing == "WebGL2")
        assert chromium.ask("document.querySelector('.undrawn').hidden") == drawn
    finally:
        chromium.send("Page.removeScriptToEvaluateOnNewDocument", identifier=script["identifier"])


def test_a_term_explains_itself_to_the_keyboard_and_in_print(chromium, page):
    chromium.look()
    chromium.open(page)
    shown = "getComputedStyle(document.querySelector('.term span')).display"
    assert chromium.ask(shown) == "none"
    for _ in range(60):
        chromium.press("Tab")
        if chromium.ask("document.activeElement.className") == "term":
            break
    assert chromium.ask("getComputedStyle(document.activeElement.querySelector('span')).display") == "block"
    chromium.look(media="print")
    assert chromium.ask("getComputedStyle([...document.querySelectorAll('.term span')].at(-1)).display") == "none"
    listed = "[...document.querySelectorAll('.terms dt')].map(term => term.innerText)"
    assert len(chromium.ask(listed)) == chromium.ask("document.querySelectorAll('.term').length")
    assert chromium.ask("getComputedStyle(document.querySelector('.terms')).display") == "block"


def test_the_check_sees_a_broken_page(chromium, tmp_path):
    broken = tmp_path / "broken.html"
    broken.write_text(
        "<!DOCTYPE html><title>x</title><p style='color:#999'>pale</p><script>throw new Error('x')</script>"
    )
    chromium.look()
    chromium.open(broken)
    assert len(chromium.console) == 1
    assert chromium.ask(CONTRAST)[0]["ratio"] < 3
