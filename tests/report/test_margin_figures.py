from __future__ import annotations

import random

import pytest

from imaseg.report.margin_figures import Line, survival_figure, unbroken
from imaseg.report.margin_sets import margin_sets


def cases(tiny, margins):
    """Cases with margins; None for one that nothing broke up to 1."""
    template = tiny.summary.margins[0].per_case[0]
    return [
        template.model_copy(
            update={"case": f"c{i}", "margin": 1.0 if m is None else m, "censored": m is None, "eps": 1.0}
        )
        for i, m in enumerate(margins)
    ]


def by_hand(found, budget):
    """Kaplan and Meier's product over the margins up to a budget."""
    share = 1.0
    for level in sorted({case.margin for case in found if not case.censored and case.margin <= budget}):
        left = sum(case.margin >= level for case in found)
        share *= 1 - sum(case.margin == level and not case.censored for case in found) / left
    return share


def test_the_share_is_kaplan_and_meiers(tiny):
    rng = random.Random(0)
    for _ in range(20):
        found = cases(tiny, [rng.choice([0.0, 0.2, 0.2, 0.5, 0.7]) for _ in range(9)])
        found = [case.model_copy(update={"censored": rng.random() < 0.3}) for case in found]
        for budget in (0.0, 0.1, 0.2, 0.4, 0.5, 0.7):
            assert float(unbroken(found).evaluate(budget)) == pytest.approx(by_hand(found, budget))


def test_a_figure_falls_where_cases_break_and_marks_those_that_never_do(tiny):
    margins = margin_sets(tiny)[0]
    entry = margins.whole.model_copy(
        update={"per_case": cases(tiny, [0.0, 0.4, 0.4, None]), "n": 4, "censored": 1, "median": 0.4, "eps": 1.0}
    )
    figure = survival_figure("key", "title", "Structure", margins.question, [Line(0, "whole", entry)], "")
    curve, marks = figure.plot["data"]
    assert list(curve["x"]) == [0.0, 0.0, 0.4, 1.0, 1.0]
    assert list(curve["y"]) == pytest.approx([1.0, 0.75, 0.25, 0.25, 0.25])
    assert list(curve["marker"]["size"]) == [0, 6, 6, 0, 0]
    assert curve["text"][2] == "whole: 0.4 breaks c1, c2"
    assert (list(marks["x"]), list(marks["y"])) == ([1.0], pytest.approx([0.25]))
    assert "median 0.4, 1 of 4 not broken" in curve["name"]
    assert [cell.text for cell in figure.table.rows[0]] == ["whole", "4", "0.75", "0.75", "0.25", "0.25", "0.25"]


def test_an_entry_without_cases_has_no_line(tiny):
    margins = margin_sets(tiny)[0]
    empty = margins.whole.model_copy(update={"per_case": [], "n": 0})
    figure = survival_figure("key", "title", "Structure", margins.question, [Line(0, "whole", empty)], "")
    assert len(figure.plot["data"]) == len(figure.table.rows) == 0
