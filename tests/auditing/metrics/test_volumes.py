"""Bias and limits of agreement against their formulas and against what an audit's cases hold."""

from __future__ import annotations

import numpy as np
import pytest

from imaseg.auditing.metrics.volumes import volume_changes
from imaseg.results import load
from imaseg.results.attack import AttackRow
from imaseg.results.base import CaseScores
from imaseg.statistics import mean_interval


def _cases(errors):
    return [CaseScores(case=f"c{i}", metrics={"1": {"volume_error": error}}) for i, error in enumerate(errors)]


def _changes(before, after, units=None):
    clean, changed = _cases(before), _cases(after)
    units = units or {one.case: one.case for one in clean}
    (one,) = volume_changes(clean, [("pgd", 0.1, changed)], ["1"], units)
    return one


def test_bias_and_limits_are_those_of_the_differences():
    rng = np.random.default_rng(0)
    before, after = rng.normal(size=12), rng.normal(1.0, 2.0, size=12)
    one, gaps = _changes(before, after), after - before
    assert one.bias_ml == pytest.approx(gaps.mean())
    assert one.limits_ml == pytest.approx([gaps.mean() + end * gaps.std(ddof=1) for end in (-1.96, 1.96)])
    assert one.ci95 == pytest.approx(mean_interval(gaps))
    assert (one.n, one.structure, one.probe, one.eps) == (12, "1", "pgd", 0.1)


def test_few_cases_have_a_bias_and_no_limits():
    one = _changes([0.0] * 6, [1.0, 2.0] * 3)
    assert (one.bias_ml, one.limits_ml, one.ci95) == (1.5, None, None)
    assert _changes([0.0], [2.0]).sd_ml is None


def test_only_cases_of_the_probe_count_and_patients_widen_the_interval_alone():
    before, after = [0.0] * 20, [0.0, 1.0] * 5
    one = _changes(before, after)
    assert one.n == 10
    units = {f"c{i}": f"p{i // 5}" for i in range(20)}
    same = _changes(before, after, units)
    assert same.ci95 is None, "2 patients"
    assert same.limits_ml == one.limits_ml


def test_an_audit_holds_them_for_every_class_attack_and_corruption(real_audit):
    audited = load(real_audit)
    found = {(one.structure, one.probe, one.eps): one for one in audited.summary.volume_changes}
    wanted = {(entry.probe, entry.eps) for entry in audited.summary.probes if not entry.fitted_on}
    wanted |= {(entry.corruption, float(entry.severity)) for entry in audited.summary.corruptions}
    assert {key[1:] for key in found} == wanted
    assert {key[0] for key in found} == {*audited.summary.mean}
    rows = [
        (r.clean["1"], row.scores["1"])
        for r in audited.cases
        for row in r.rows_of(AttackRow, "pgd-l2")
        if row.eps == 0.5
    ]
    gaps = [after["volume_error"] - before["volume_error"] for before, after in rows]
    one = found["1", "pgd-l2", 0.5]
    assert (one.bias_ml, one.n) == (pytest.approx(np.mean(gaps)), len(gaps))
    assert one.bias_ml != 0
