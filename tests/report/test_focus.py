"""Cases that fail or are empty without any change are counted first, and no mean over them looks like a finding."""

from __future__ import annotations

import statistics

import pytest

from imaseg.auditing.table import ladder_table
from imaseg.report import read_audits
from imaseg.report.compare import Series, at, clean_point
from imaseg.report.evidence import evidence
from imaseg.report.focus import among, focus, over_others
from imaseg.report.page import render
from imaseg.report.sections import build_sections
from tests.report.parser import Page
from tests.report.vary import blocks_of, entries, texts, vary, with_dice

CLEAN, ATTACKED = [0.8, 0.0, 0.6, 0.0, 0.02, 0.0], [0.2, 0.0, 0.1, 0.0, 0.0, 0.0]
SAID = "4 of 6 cases fail without any change"
OWN = "Nothing is found in 2 of 6 cases"


@pytest.fixture(scope="module")
def failing(tiny):
    """Two cases stand (0.8 and 0.6), four do not; every attack leaves the same of each."""
    clean = with_dice(tiny.summary, CLEAN)
    update = {key: getattr(clean, key) for key in ("metric_per_case", "foreground_mean")}
    probes = [with_dice(entry, ATTACKED) for entry in tiny.summary.probes]
    return vary(tiny, "a", probes=probes, margins=[], voxel_margins=[], **update)


@pytest.fixture
def unlabelled(write_variant):
    """An audit against the model's own prediction, which finds nothing in the first two cases."""

    def edit(summary, run):
        names = [case["case"] for case in summary["metric_per_case"]]
        summary["data"]["reference"] = "prediction"
        unknown = {"margin": None, "dice": None}
        cases = [
            {"case": name, "found": number > 1, "agreement": 0.9 if number > 1 else None} | unknown
            for number, name in enumerate(names)
        ]
        moved = {"change": "pgd-l2 0.1", "structure": "1", "n": 4, "mean": -0.235, "absolute": 0.3, "moved": 1.0}
        drawn = {"change": "blur 1", "structure": "1", "n": 4, "mean": 0.01, "absolute": 0.02, "moved": 0.0}
        summary["stability"] = {
            "smallest": [],
            "limit": 0.1,
            "volumes": [moved, drawn | {"variation": 0.05, "draws": 2}],
            "cases": cases,
            "scores": [],
        }
        for block in (summary, *summary["probes"]):
            for number, case in enumerate(block["metric_per_case"]):
                case["metrics"]["foreground_mean"]["dice"] = 1.0 if block is summary else (0.0 if number < 2 else 0.4)

    return read_audits([write_variant("own", edit)])[0]


def section(key, *audits):
    return next(one for one in build_sections(audits) if one.key == key)


def test_a_mean_over_some_cases_has_their_number(failing):
    entry = entries(failing, probe="pgd-l2", eps=0.5)[0]
    point = at(failing, Series.of(entry), 0.5)
    few = focus(failing, point)
    assert (few.n, few.dice, few.dice_ci95) == (2, pytest.approx(0.15), None)
    assert among(clean_point(failing), ("nobody",)).dice is None
    assert over_others([failing], failing, [clean_point(failing), point]).endswith("0.700 clean, 0.150 at 0.5.")


def test_the_first_screen_counts_failures_before_it_names_an_attack(failing):
    (block,) = blocks_of(section("summary", failing), "glance")
    breaks, _, sure, _ = block.answers
    arrow = "\N{RIGHTWARDS ARROW}"
    assert breaks.numbers == [("", SAID), ("the other 2 cases", f"Dice 0.70 {arrow} 0.15")]
    assert breaks.said.endswith(f"Over all 6 cases: 0.24 {arrow} 0.05.")
    assert sure.said.endswith("over the other 2 cases.")


def test_failures_are_said_before_reading_on_and_tables_hold_both_means(failing):
    (notice,) = blocks_of(section("summary", failing), "notice")
    assert notice.items[0].startswith(f"a: {SAID} (Dice below 0.1).")
    first, *_ = blocks_of(section("results", failing), "table")
    assert [row[:3] for row in texts(first)] == [["a", "6", "0.237"], ["the other 2 cases", "2", "0.700"]]
    assert "over the other 2 cases, half of the clean Dice" in section("results", failing).sentences[0].points[0]


def test_pictures_and_ranks_are_of_cases_that_the_attack_broke(failing):
    worst = section("worst", failing)
    gallery, *_ = blocks_of(worst, "gallery")
    assert [sight.case for sight in gallery.sights][:2] == ["phantom_003", "phantom_001"]
    table, *_ = blocks_of(worst, "table")
    assert {row[2] for row in texts(table)} == {"phantom_001", "phantom_003"}
    assert f"Left out: {SAID}" in table.caption
    (block,) = blocks_of(section("summary", failing), "glance")
    assert "Attacked by PGD (pgd-l2), not by that of the numbers." in block.note


def test_the_terminal_counts_failures_and_states_both_means(failing):
    said, _, heads, clean, *_ = ladder_table([failing.summary]).splitlines()
    assert said == f"{SAID} (Dice below 0.1)."
    assert heads.endswith("the other 2 cases")
    assert clean.split() == ["clean", "0.237", "0.700"]


def test_with_no_case_left_nothing_is_said_to_break(failing):
    clean = with_dice(failing.summary, [0.02] * 6)
    bare = vary(failing, "a", metric_per_case=clean.metric_per_case, foreground_mean=clean.foreground_mean)
    (block,) = blocks_of(section("summary", bare), "glance")
    assert block.answers[0].numbers == [("", "6 of 6 cases fail without any change")]
    assert block.answers[1].numbers == [("", "none needed")]
    assert section("results", bare).sentences[0].points == ("no case is left to break",)


def test_ties_at_the_bottom_are_counted(failing):
    probes = [with_dice(entry, [0.0] * 6) for entry in failing.summary.probes]
    (block,) = blocks_of(section("summary", vary(failing, "a", probes=probes)), "glance")
    assert "one of 2 cases at 0.000" in block.note


def test_budgets_that_leave_nothing_are_called_too_large(failing, tiny):
    probes = [with_dice(entry, [0.0] * 6) for entry in failing.summary.probes]
    margins = tiny.summary.margins[:1]
    standing = {"phantom_001", "phantom_003"}
    results = section("results", vary(failing, "a", probes=probes, margins=margins))
    middle = statistics.median(case.margin for case in margins[0].per_case if case.case in standing)
    (said,) = [text for text in results.notices if "L2 ball" in text]
    assert said.endswith(f"Add smaller ones; the median margin is {middle:.3g} standard deviations of the image.")


def test_without_labels_what_is_empty_is_said_first(unlabelled):
    page = Page(render([unlabelled])).text
    assert f"own: {OWN}. An empty prediction agrees with itself until a voxel appears" in page
    (block,) = blocks_of(section("summary", unlabelled), "glance")
    assert block.answers[0].numbers[0] == ("", OWN)
    assert block.answers[0].numbers[1][0] == "the other 4 cases"
    first = blocks_of(section("worst", unlabelled), "gallery")[0].sights[0]
    assert first.case not in ("phantom_001", "phantom_002")
    assert first.panels[0].caption == "Clean image; something found"
    assert first.panels[2].caption == "Attacked image; agreement 0.400"


def test_without_labels_nothing_is_called_a_label(unlabelled):
    (legend, *_) = blocks_of(section("worst", unlabelled), "legend")
    assert legend.dashed == "prediction of the unchanged image"
    page = Page(render([unlabelled])).text
    assert "Overlap of prediction and label" not in page
    assert "outlines of label" not in page
    assert "clean Dice is lost" not in page


def test_moved_volumes_have_one_minus_and_their_draws(unlabelled):
    tables = blocks_of(section("stability", unlabelled), "table")
    volumes = next(table for table in tables if table.caption.startswith("Volume under change"))
    first, second = volumes.rows
    assert (first[3].text, first[6].text) == ("\N{MINUS SIGN}23.5 %", "drawn once")
    assert (second[6].text, second[6].note) == ("5.0 %", "over 2 draws")
    looked = next(table for table in tables if "Cases to look at first" in table.caption)
    assert "nothing is found (phantom_001 and phantom_002)" in looked.caption
    assert len(looked.rows) == 4


def test_the_evidence_sheet_counts_failures_and_states_the_clean_dice(failing):
    lines = {line.split(" | ")[0].strip("| "): line for line in evidence([failing]).splitlines() if "Art. 15" in line}
    assert f"{SAID} (Dice below 0.1)" in lines["Art. 15(1)"]
    text = next(line for line in evidence([failing]).splitlines() if "faults and inconsistencies" in line)
    assert f"{SAID}" in text
    assert "from a clean Dice of 0.237" in text
    assert "the same over the other 2 cases: 0.700 clean" in evidence([failing])
