from __future__ import annotations

import pytest

from imaseg.report.curves import curve_figures
from imaseg.report.read import read_audits


def mean_lines(figure):
    return [trace for trace in figure.plot["data"] if trace.get("showlegend") is None]


def test_one_figure_per_probe_with_the_strongest_attack_first_and_noise_last(write_audit):
    figures = curve_figures(read_audits([write_audit(cases=3, slices=False)]))
    assert [figure.title for figure in figures] == [
        "PGD, L2 ball",
        "FGSM, L2 ball",
        "I-FGSM, L2 ball",
        "Gaussian noise, L2 ball",
        "Uniform noise, L2 ball",
    ]
    assert [figure.large for figure in figures] == [True, False, False, False, False]


def test_lines_start_at_the_clean_dice_and_follow_the_summary(write_audit):
    audits = read_audits([write_audit("a", cases=3, slices=False), write_audit("b", cases=3, slices=False, slope=9.0)])
    for audit, line in zip(audits, mean_lines(curve_figures(audits)[0]), strict=True):
        dice = [p.foreground_mean["dice"] for p in audit.summary.probes if p.probe == "pgd-l2"]
        assert line["name"] == audit.name
        assert list(line["x"]) == [0, 0.013, 0.026, 0.052, 0.078, 0.1]
        assert list(line["y"]) == pytest.approx([audit.summary.foreground_mean["dice"], *dice])


def test_the_band_runs_through_the_interval_ends(write_audit):
    (audit,) = read_audits([write_audit(cases=4, slices=False)])
    band = curve_figures([audit])[0].plot["data"][0]
    low, high = audit.summary.clean_dice_ci95
    assert band["y"][0] == high
    assert band["y"][-1] == low


def test_every_case_is_a_point(write_audit):
    figures = curve_figures(read_audits([write_audit(cases=7, slices=False)]))
    assert len(figures[0].plot["data"][1]["y"]) == 7 * 6


def test_a_null_interval_or_dice_leaves_a_gap(write_audit):
    def edit(summary, run):
        summary["probes"][-1].update(dice_ci95=None, foreground_mean={"dice": None})

    figure = curve_figures(read_audits([write_audit(cases=3, slices=False, edit=edit)]))[0]
    assert mean_lines(figure)[0]["y"][-1] is None
    assert len(figure.plot["data"][0]["x"]) == 2 * 5
    assert figure.table.rows[-1][3].text == "undefined"


def test_a_model_without_the_probe_is_named_as_missing(write_audit):
    def edit(summary, run):
        summary["probes"] = [p for p in summary["probes"] if p["probe"] != "pgd-l2"]

    audits = read_audits([write_audit("a", cases=3, slices=False), write_audit("b", cases=3, slices=False, edit=edit)])
    figure = next(f for f in curve_figures(audits) if f.title.startswith("PGD"))
    assert "Not audited with this probe: b." in figure.caption
    assert len(mean_lines(figure)) == 1


def test_the_label_speaks_the_end_points(write_audit):
    (audit,) = read_audits([write_audit(cases=3, slices=False)])
    figure = curve_figures([audit])[0]
    assert f"standard: {audit.summary.foreground_mean['dice']:.3f} clean" in figure.label
    assert figure.caption == "Probe pgd-l2: objective dice, 20 steps, 1 restart, seed 7. n = 3."
