from __future__ import annotations

import pytest

from imaseg.report.margins import bracket_margin, margin_figures, median_text
from imaseg.report.read import read_audits
from imaseg.report.schema import Margins


def margins(values, *, eps=0.2, median=None, ci=None):
    per_case = [
        {"case": f"c{i}", "margin": eps if value is None else value, "censored": value is None}
        for i, value in enumerate(values)
    ]
    return Margins(
        probe="margin-l2",
        perturbation="l2",
        unit="rms",
        criterion="Dice below 0.5",
        eps=eps,
        n=len(values),
        per_case=per_case,
        censored=sum(value is None for value in values),
        median=median,
        median_ci95=ci,
    )


@pytest.mark.parametrize(
    ("values", "median", "said"),
    [
        ([0.01, 0.03, None], 0.03, "0.03"),
        ([0.01, None, None], 0.2, "above 0.2"),
        ([0.01, None], 0.105, "at least 0.105"),
        ([0.01, 0.02], None, "undefined"),
    ],
)
def test_the_median_is_never_claimed_beyond_the_search_limit(values, median, said):
    assert median_text(margins(values, median=median)) == said


def test_interval_ends_at_the_limit_are_open():
    assert bracket_margin(margins([0.1], ci=[0.05, 0.2])) == "[0.05, above 0.2]"
    assert bracket_margin(margins([0.1], ci=[None, None])) == ""


def steps(write_audit, values):
    def edit(summary, run):
        summary["margins"] = [margins(values, median=0.03).model_dump()]

    (figure,) = margin_figures(read_audits([write_audit(cases=3, slices=False, edit=edit)]))
    return figure


def test_steps_are_the_survival_function_and_censored_cases_stay_unbroken(write_audit):
    figure = steps(write_audit, [0.04, 0.0, None, 0.02])
    curve, mark = figure.plot["data"]
    assert list(curve["x"]) == [0.0, 0.0, 0.02, 0.04, 0.2]
    assert list(curve["y"]) == [1.0, 0.75, 0.5, 0.25, 0.25]
    assert (mark["x"][0], mark["y"][0]) == (0.2, 0.25)
    assert "median 0.03, 1 of 4 not broken" in curve["name"]
    assert figure.table.rows[0][3].text == "1 of 4"
    # 60 to 80000 native units per unit of the model's input, 240 at the median case
    assert figure.table.rows[0][2].text == "7.2"


def test_without_censored_cases_there_is_no_mark(write_audit):
    figure = steps(write_audit, [0.04, 0.01])
    assert len(figure.plot["data"]) == 1
    assert 0.04 < figure.plot["data"][0]["x"][-1] < figure.plot["layout"]["xaxis"]["range"][1] < 0.06


def test_margins_of_zero_alone_still_have_an_axis(write_audit):
    assert steps(write_audit, [0.0, 0.0]).plot["layout"]["xaxis"]["range"][1] > 0


def test_different_criteria_are_never_drawn_together(write_audit):
    def edit(summary, run):
        summary["margins"][0]["criterion"] = "any voxel flipped"

    audits = read_audits([write_audit("a", cases=3, slices=False), write_audit("b", cases=3, slices=False, edit=edit)])
    figures = margin_figures(audits)
    assert [len([t for t in f.plot["data"] if t["mode"] == "lines+markers"]) for f in figures] == [1, 1]
    assert "No margins with this criterion: b." in figures[0].caption


def test_margins_of_structures_follow_those_of_whole_cases(write_audit):
    def edit(summary, run):
        whole = summary["margins"][0]
        summary["margins"] = [whole | {"probe": "margin-l2-class-1", "structure": "Anterior"}, whole]

    figures = margin_figures(read_audits([write_audit("a", cases=3, slices=False, edit=edit)]))
    assert [figure.title.split(" in ")[0] for figure in figures] == ["Margins", "Margins of Anterior"]
