from __future__ import annotations

import re
import statistics

import pytest
import scipy.stats

from imaseg.report.margin_figures import scatter_figures
from imaseg.report.margin_sets import margin_sets
from imaseg.report.margin_words import margin_text
from imaseg.report.sections.margins import build
from imaseg.report.works import WORKS
from tests.report.vary import blocks_of, texts, vary


def table_with(section, words):
    return next(table for table in blocks_of(section, "table") if words in table.caption)


def changed(tiny, number, **update):
    margins = list(tiny.summary.margins)
    margins[number] = margins[number].model_copy(update=update)
    return vary(tiny, "a", margins=margins)


def test_of_one_audit_a_figure_per_set_with_a_line_per_structure(tiny):
    figures = [figure for figure in blocks_of(build([tiny]), "figure") if figure.key.startswith("unbroken")]
    assert [figure.title for figure in figures] == ["L2 ball", "Bias field"]
    names = [trace["name"] for trace in figures[0].plot["data"] if trace.get("name")]
    assert [name.split(" (")[0] for name in names] == ["whole case", "Front", "Back"]
    censored = tiny.summary.margins[3].censored
    assert f"{censored} of 6 not broken" in figures[1].plot["data"][0]["name"]


def test_of_several_a_figure_per_set_and_structure_with_a_line_per_model(tiny):
    other = vary(tiny, "ima", margins=tiny.summary.margins[:3])
    figures = blocks_of(build([tiny, other]), "figure")
    assert [f.title for f in figures] == [
        "L2 ball, whole case",
        "Bias field, whole case",
        "L2 ball, Front",
        "L2 ball, Back",
    ]
    assert len([t for t in figures[0].plot["data"] if t["mode"] == "lines+markers"]) == 2
    assert "No margins of this kind: ima." in figures[1].caption


def test_every_set_and_structure_has_a_row(tiny):
    table = table_with(build([tiny]), "Margins: the smallest budget")
    assert len(table.rows) == 4
    for cells, entry in zip(table.rows, tiny.summary.margins, strict=True):
        row = dict(zip(table.head, cells, strict=True))
        assert row["Structure"].text == (entry.structure or "whole case")
        assert row["Not broken"].text == f"{entry.censored} of 6"
        assert row["Held"].text == (f"{entry.held} of {entry.tested}" if entry.tested else "not checked")
        assert (row["Search limit"].text, row["Search limit"].note) == (f"{entry.eps:g}", "within 30 %")
        assert "grey levels" in row["Median in words"].note or entry.perturbation == "bias-field"


def test_the_weakest_cases_come_first_and_name_the_structure_that_breaks_first(tiny):
    table = table_with(build([tiny]), "the weakest first")
    front, back = ({c.case: c.margin for c in tiny.summary.margins[k].per_case} for k in (1, 2))
    for cells in table.rows:
        case = cells[0].text
        first = "Front" if front[case] <= back[case] else "Back"
        assert cells[table.head.index("L2 ball (standard deviations of the image)")].note.startswith(f"{first} ")
    assert len(table.rows) == 6


def test_every_margin_of_every_case_and_those_that_did_not_hold(tiny):
    details = blocks_of(build([tiny]), "details")[0]
    (table,) = details.blocks
    rows = {(row[0].text, row[1].text): row for row in table.rows}
    assert len(rows) == 6 * 3
    for entry in tiny.summary.margins[:3]:
        for case in entry.per_case:
            cell = rows[case.case, entry.structure or "whole case"][4]
            assert cell.text == margin_text(case)
            assert (cell.note == "did not hold") is (case.confirmed is False)
    absent = changed(tiny, 1, per_case=tiny.summary.margins[1].per_case[1:], n=5, absent=1)
    section = build([absent])
    assert [r[4].text for r in blocks_of(section, "details")[0].blocks[0].rows if r[1].text == "Front"][:1] == [
        "not in the label"
    ]
    assert any("does not hold has no margin" in limit for limit in section.limits)


def test_sentences_say_where_half_of_the_cases_break(tiny):
    halves, first, *_ = build([tiny]).sentences
    entry, bias = tiny.summary.margins[0], tiny.summary.margins[3]
    weakest = min(entry.per_case, key=lambda case: case.margin)
    assert "criterion: Dice below 0.5 of the clean Dice" in halves.text
    assert re.match(rf"L2 ball: {entry.median:.3g} \(standard .*weakest: {weakest.case} at ", halves.points[0])
    assert halves.points[1].endswith(f"; {bias.censored} of 6 never broke")
    least, other = sorted(tiny.summary.margins[1:3], key=lambda entry: entry.median)
    expected = f"{least.structure} {least.median:.3g} (against {other.structure} {other.median:.3g})"
    assert first.points == (f"L2 ball: {expected}",)
    zero = [case.model_copy(update={"margin": 0.0}) for case in entry.per_case[:2]]
    failing = build([changed(tiny, 0, per_case=[*zero, *entry.per_case[2:]])]).sentences[0].points[0]
    middle = statistics.median(case.margin for case in entry.per_case[2:])
    assert f"2 of 6 need no change, the median of the other 4 is {middle:.3g}" in failing


def test_cases_that_fail_unattacked_are_not_ranked(tiny):
    margins = [
        entry.model_copy(
            update={
                "per_case": [
                    case.model_copy(update={"margin": 0.0}) if number < 4 else case
                    for number, case in enumerate(entry.per_case)
                ]
            }
        )
        for entry in tiny.summary.margins
    ]
    table = table_with(build([vary(tiny, margins=margins)]), "the weakest first")
    assert {row[0].text for row in table.rows} == {"phantom_005", "phantom_006"}
    assert "4 cases that fail unattacked are left out" in table.caption


@pytest.mark.parametrize(("held", "notices"), [(6, 0), (5, 1)])
def test_sets_whose_margins_did_not_hold_are_noted(tiny, held, notices):
    margins = [
        e.model_copy(update={"held": held if n == 0 else 0, "tested": 6 if n == 0 else 0})
        for n, e in enumerate(tiny.summary.margins)
    ]
    said = build([vary(tiny, margins=margins)]).notices
    assert len(said) == notices
    above = sum(case.margin > 0 for entry in margins for case in entry.per_case)
    text = f"{held} of 6 margins that were checked (of {above} above 0) held: two new searches 51 % below them failed."
    assert build([vary(tiny, margins=margins)]).sentences[-1].text == text
    assert all("In the L2 ball only 5 of 6 checked margins held" in notice for notice in said)


def test_methods_and_works_follow_what_was_searched(tiny):
    section = build([tiny])
    text, works = " ".join(section.methods), " ".join(WORKS.get(work, work) for work in section.works)
    for fact in ("bias field (after Chen et al. 2020)", "of 2 and 3 steps", "tolerance of 0.3", "Carlini et al. 2019"):
        assert fact in text
    for identifier in ("10.1016/j.cmpb.2023.107687", "1902.06705", "2006.13322"):
        assert identifier in works
    unconfirmed = [e.model_copy(update={"tested": 0, "held": 0}) for e in tiny.summary.margins]
    assert "Carlini" not in " ".join(build([vary(tiny, margins=unconfirmed)]).methods)
    assert build([vary(tiny, margins=[])]) is None


def test_scatter_marks_unbroken_cases_and_ranks_them_highest(tiny):
    margins = margin_sets(tiny)[1]  # whole cases only, some unbroken
    volume, dice = scatter_figures(margins)
    cases = margins.whole.per_case
    (trace,) = volume.plot["data"]
    assert list(trace["x"]) == [case.volume_ml for case in cases]
    assert [symbol.endswith("-open") for symbol in trace["marker"]["symbol"]] == [case.censored for case in cases]
    heights = [9.0 if case.censored else case.margin for case in cases]
    expected = scipy.stats.spearmanr([case.clean_dice for case in cases], heights).statistic
    assert texts(dice.table) == [["whole case", f"{expected:.2f}".replace("-", "\N{MINUS SIGN}"), "6"]]
    few = margins.whole.model_copy(update={"per_case": cases[:4]})
    assert "not stated below 5 cases" in scatter_figures(margins._replace(entries=[few]))[0].caption
    alike = margins.whole.model_copy(
        update={"per_case": [c.model_copy(update={"margin": 0.1, "censored": False}) for c in cases]}
    )
    assert "undefined, all alike" in scatter_figures(margins._replace(entries=[alike]))[0].caption
