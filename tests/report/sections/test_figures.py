"""Sections that draw lines against eps: trade-off, curves, calibration."""

from __future__ import annotations

import numpy as np
import pytest

from imaseg.report.sections import calibration, curves, tradeoff
from imaseg.results.base import MEAN
from tests.report.vary import blocks_of, entries, vary, with_intervals

WITHOUT_ATTACKS = (tradeoff, curves, calibration)


def test_a_dot_per_model_between_its_intervals(tiny):
    tiny = with_intervals(tiny)
    figure, gamma = blocks_of(tradeoff.build([tiny, vary(tiny, "ima")]), "figure")
    _, dot, other = figure.plot["data"]
    entry = entries(tiny, probe="worst-case-l2", eps=0.5)[0]
    assert (list(dot["x"]), list(dot["y"])) == ([tiny.summary.dice], [entry.dice])
    assert list(dot["error_y"]["array"]) == pytest.approx([entry.dice_ci95[1] - entry.dice])
    assert list(dot["error_x"]["arrayminus"]) == pytest.approx([tiny.summary.dice - tiny.summary.clean_dice_ci95[0]])
    assert dot["marker"]["symbol"] != other["marker"]["symbol"]
    assert figure.title == "L2 ball, eps 0.5 standard deviations of the image"
    assert gamma.title.startswith("Contrast (gamma), eps 0.3")


def test_each_attack_has_a_curve_of_means_cases_and_interval(tiny):
    tiny = with_intervals(tiny)
    section = curves.build([tiny, vary(tiny, "ima", probes=entries(tiny, attack="fgsm"))])
    figures = {figure.title: figure for figure in blocks_of(section, "figure")}
    assert list(figures)[:2] == ["Worst case over all attacks, L2 ball", "PGD, contrast (gamma)"]
    assert list(figures)[-1] == "Gaussian noise, L2 ball"
    band, cases, mean, *other = figures["FGSM, L2 ball"].plot["data"]
    fgsm = entries(tiny, attack="fgsm")
    assert list(mean["x"]) == [0.0, 0.1, 0.5]
    assert list(mean["y"]) == [tiny.summary.dice, *(entry.dice for entry in fgsm)]
    assert list(band["y"])[2] == fgsm[1].dice_ci95[1]
    assert len(cases["x"]) == 3 * 6
    assert len(other) == 3
    assert "Not measured with this probe: ima." in figures["PGD, L2 ball"].caption
    table = figures["FGSM, L2 ball"].table
    values = [case.dice for case in fgsm[0].metric_per_case]
    assert [cell.text for cell in table.rows[1][-3:]] == [f"{f(values):.3f}" for f in (min, np.median, max)]


def test_calibration_is_drawn_where_it_was_measured(tiny):
    tiny = with_intervals(tiny)
    unmeasured = [e.model_copy(update={"foreground_mean": {"dice": 0.5}}) for e in entries(tiny, perturbation="gamma")]
    figures = blocks_of(calibration.build([tiny, vary(tiny, "b", probes=unmeasured)]), "figure")
    assert [figure.title for figure in figures] == ["Worst case over all attacks, L2 ball", "PGD, contrast (gamma)"]
    band, cases, line = figures[1].plot["data"]
    gamma = entries(tiny, perturbation="gamma")[0]
    assert list(line["y"]) == [tiny.summary.foreground_mean["ece"], gamma.foreground_mean["ece"]]
    assert list(band["y"])[:2] == [tiny.summary.ci95["ece"][1], gamma.ci95["ece"][1]]
    assert list(cases["y"])[6:] == [case.metrics[MEAN]["ece"] for case in gamma.metric_per_case]
    assert "Not measured with this probe: b." in figures[1].caption


@pytest.mark.parametrize("section", WITHOUT_ATTACKS)
def test_without_attacks_there_is_no_such_section(tiny, section):
    assert section.build([vary(tiny, probes=[])]) is None


def test_without_labels_curves_are_of_agreement(tiny):
    for reference, word in (("label", "Dice"), ("prediction", "agreement")):
        data = tiny.summary.data.model_copy(update={"reference": reference})
        section = curves.build([vary(tiny, data=data)])
        assert section.title == f"{word.capitalize()} against eps"
        assert f"mean foreground {word}. Band" in section.lead
        figures = [*blocks_of(section, "figure")]
        assert figures
        assert all(f"mean foreground {word}" in str(figure.plot["layout"]) for figure in figures)
