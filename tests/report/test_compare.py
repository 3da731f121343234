from __future__ import annotations

import pytest

from imaseg.report.compare import Point, all_series, at, budgets, clean_point, ladder, paired, strongest
from imaseg.report.read import read_audits
from imaseg.report.schema import CaseMetrics


def point(**dice):
    cases = [CaseMetrics(case=case, metrics={"foreground_mean": {"dice": value}}) for case, value in dice.items()]
    return Point(0.0, len(cases), {"dice": None}, None, cases, None)


def test_the_strongest_is_the_attack_with_the_lowest_dice_not_the_first(write_audit):
    audits = read_audits([write_audit(cases=5, slices=False)])
    assert [series.probe for series in strongest(audits)] == ["pgd-l2"]


def test_an_attack_that_one_model_lacks_is_judged_where_it_was_run(write_audit):
    def edit(summary, run):
        summary["probes"] = [probe for probe in summary["probes"] if probe["probe"] != "pgd-l2"]

    folders = [write_audit("a", cases=17, slices=False), write_audit("b", cases=17, slices=False, edit=edit)]
    assert [series.probe for series in strongest(read_audits(folders))] == ["pgd-l2"]


def test_noise_is_never_the_strongest_attack(write_audit):
    def edit(summary, run):
        for probe in summary["probes"]:
            if probe["attack"] == "gaussian-noise":
                probe["foreground_mean"]["dice"] = 0.0

    audits = read_audits([write_audit(cases=5, slices=False, edit=edit)])
    assert [series.probe for series in strongest(audits)] == ["pgd-l2"]


def test_noise_alone_has_no_strongest_attack(write_audit):
    def edit(summary, run):
        summary["probes"] = [probe for probe in summary["probes"] if "noise" in probe["attack"]]

    assert strongest(read_audits([write_audit(cases=3, slices=False, edit=edit)])) == []


def test_one_strongest_attack_per_perturbation_set(write_audit):
    def edit(summary, run):
        other = [dict(p, probe="fgsm-linf", perturbation="linf", unit="max") for p in summary["probes"][10:15]]
        summary["probes"] += other

    audits = read_audits([write_audit(cases=3, slices=False, edit=edit)])
    assert [series.probe for series in strongest(audits)] == ["pgd-l2", "fgsm-linf"]


def test_ladders_are_sorted_and_point_to_the_summary(write_audit):
    (audit,) = read_audits([write_audit(cases=3, slices=False, edit=lambda s, r: s["probes"].reverse())])
    series = next(s for s in all_series([audit]) if s.probe == "fgsm-l2")
    assert [p.eps for p in ladder(audit, series)] == [0.013, 0.026, 0.052, 0.078, 0.1] == budgets([audit], series)
    assert at(audit, series, 0.5) is None
    assert clean_point(audit).dice == audit.summary.foreground_mean["dice"]


def test_paired_difference_uses_shared_defined_cases_only():
    change = paired(point(a=0.8, b=0.9, c=0.1, d=None, e=0.5), point(b=0.6, a=0.7, x=1.0, d=0.5, e=0.3))
    assert change.mean == pytest.approx(-0.2)
    assert change.n == 3
    low, high = change.ci95
    assert -0.3 - 1e-9 <= low <= change.mean <= high <= -0.1 + 1e-9


def test_paired_interval_covers_the_mean_of_many_equal_gaps():
    before = {f"c{i}": 0.5 + 0.01 * i for i in range(20)}
    change = paired(point(**before), point(**{case: dice + 0.1 for case, dice in before.items()}))
    assert change.ci95 == (pytest.approx(0.1), pytest.approx(0.1))


def test_few_shared_cases_have_no_interval_and_none_no_difference():
    assert paired(point(a=0.5, b=0.5), point(a=0.75, b=0.7)).ci95 is None
    assert paired(point(a=0.5), point(a=0.75)).ci95 is None
    assert paired(point(a=0.5), point(b=0.5)) is None
    assert paired(None, point(a=0.5)) is None
