"""Paired differences between two audits."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from imaseg.statistics import mean_interval, paired
from imaseg.statistics.comparison import holm


def block(dice, hd95=None, **more):
    return {
        "metric_per_case": [
            {"case": case, "metrics": {"foreground_mean": {"dice": value, "hd95": (hd95 or {}).get(case)}}}
            for case, value in dice.items()
        ],
        **more,
    }


def probe(dice, *, name="pgd-l2", eps=0.1, unit="rms"):
    return block(dice, probe=name, attack="pgd", perturbation="l2", unit=unit, eps=eps)


def summary(clean, probes=(), **more):
    return {"model": {"name": "model"}, **block(clean), "probes": list(probes), **more}


def _cases(seed, n=12, centre=0.8):
    return {f"c{i:02d}": float(v) for i, v in enumerate(np.random.default_rng(seed).normal(centre, 0.05, n))}


def test_an_audit_does_not_differ_from_itself():
    one = summary(_cases(0), [probe(_cases(1))])
    rows = paired(one, copy.deepcopy(one))
    assert [(row["probe"], row["eps"], row["n"]) for row in rows] == [("clean", 0.0, 12), ("pgd-l2", 0.1, 12)]
    for row in rows:
        assert row["mean_a"] == row["mean_b"]
        assert (row["difference"], row["ci95"], row["p"]) == (0.0, [0.0, 0.0], 1.0)


def test_difference_interval_and_test_are_those_of_the_gaps():
    before, after = _cases(0), _cases(1, centre=0.85)
    (row,) = paired(summary(before), summary(after))
    gaps = [after[case] - before[case] for case in before]
    assert row["difference"] == pytest.approx(np.mean(gaps))
    assert row["difference"] == pytest.approx(row["mean_b"] - row["mean_a"])
    assert row["ci95"] == pytest.approx(mean_interval(gaps))
    assert row["patients"] is None
    assert row["p"] == pytest.approx(scipy.stats.wilcoxon(gaps).pvalue)


def test_only_cases_that_both_hold_count():
    (row,) = paired(summary({"x": 0.1, "y": 0.5, "z": 0.6}), summary({"z": 0.9, "y": 0.7, "w": 0.0}))
    assert row["n"] == 2
    assert row["difference"] == pytest.approx(0.25)
    assert row["mean_a"] == pytest.approx(0.55)
    assert row["ci95"] is None
    assert row["p"] is None


def test_cases_of_one_patient_count_as_one():
    before, after = _cases(0, 24), _cases(1, 24, centre=0.82)
    named = {"intervals": {"patients": {case: f"p{place // 3}" for place, case in enumerate(before)}}}
    (row,) = paired(summary(before, **named), summary(after))
    gaps = [after[case] - before[case] for case in before]
    means = np.reshape(gaps, (8, 3)).mean(1)
    assert (row["n"], row["patients"], row["difference"]) == (24, 8, pytest.approx(np.mean(gaps)))
    assert row["ci95"] == pytest.approx(mean_interval(means))
    assert row["p"] == pytest.approx(scipy.stats.wilcoxon(means).pvalue)
    few = {"intervals": {"patients": {case: f"p{place // 6}" for place, case in enumerate(before)}}}
    (row,) = paired(summary(before), summary(after, **few))
    assert (row["patients"], row["ci95"], row["p"]) == (4, None, None)


def test_metrics_have_rows_of_their_own_over_the_cases_where_both_are_defined():
    dice = {"x": 0.1, "y": 0.5}
    rows = paired(block(dice, {"x": 3.0, "y": 4.0}), block(dice, {"x": 5.0}), names=("a", "b"))
    assert [(row["metric"], row["n"], row["difference"]) for row in rows] == [("dice", 2, 0.0), ("hd95", 1, 2.0)]


def test_probes_of_one_model_or_in_another_unit_are_left_out():
    dice = {"x": 0.1, "y": 0.5}
    ours = summary(dice, [probe(dice), probe(dice, eps=0.2), probe(dice, name="own")])
    theirs = summary(dice, [probe(dice), probe(dice, eps=0.2, unit="norm")])
    assert [(row["probe"], row["eps"]) for row in paired(ours, theirs)] == [("clean", 0.0), ("pgd-l2", 0.1)]


def test_corruptions_are_compared_by_name_and_severity():
    dice = {"x": 0.1, "y": 0.5}
    corrupted = [block(dice, corruption="ghosting", severity=3)]
    rows = paired(summary(dice, corruptions=corrupted), summary(dice, corruptions=corrupted))
    assert [(row["probe"], row["eps"], row["unit"]) for row in rows] == [
        ("clean", 0.0, ""),
        ("ghosting", 3, "severity"),
    ]


def test_models_are_named_as_their_audits_or_as_asked():
    ours, theirs = summary({"x": 0.1}), summary({"x": 0.2}) | {"model": {"name": "ima"}}
    assert [paired(ours, theirs)[0][side] for side in "ab"] == ["model", "ima"]
    assert [paired(ours, theirs, names=("1", "2"))[0][side] for side in "ab"] == ["1", "2"]


def test_audits_without_a_case_in_common_have_no_rows():
    assert paired(summary({"x": 0.1}), summary({"y": 0.1})) == []


def test_p_values_are_adjusted_for_the_number_of_rows():
    before, after = _cases(0), _cases(1, centre=0.85)
    alone = paired(summary(before), summary(after))[0]["p"]
    doubled = paired(summary(before, [probe(before)]), summary(after, [probe(after)]))
    assert [row["p"] for row in doubled] == pytest.approx([2 * alone, 2 * alone])


def test_the_interval_covers_the_true_difference():
    rng, covered = np.random.default_rng(0), 0
    for _ in range(200):
        cases, gap = rng.uniform(0.5, 0.9, 25), rng.normal(0.02, 0.03, 25)
        before = {str(i): v for i, v in enumerate(cases)}
        after = {str(i): v + g for i, (v, g) in enumerate(zip(cases, gap, strict=True))}
        (row,) = paired(summary(before), summary(after))
        covered += row["ci95"][0] <= 0.02 <= row["ci95"][1]
    assert 0.88 < covered / 200 < 0.99


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=8))
def test_swapping_the_audits_turns_the_sign(pairs):
    ours, theirs = ({str(i): pair[side] for i, pair in enumerate(pairs)} for side in (0, 1))
    (there,), (back,) = paired(summary(ours), summary(theirs)), paired(summary(theirs), summary(ours))
    assert there["difference"] == -back["difference"]
    assert there["p"] == back["p"]
    assert (there["mean_a"], there["mean_b"]) == (back["mean_b"], back["mean_a"])


def test_holm_rejects_as_the_step_down_procedure_does():
    rng = np.random.default_rng(0)
    for _ in range(50):
        values = rng.uniform(0, 0.1, 6)
        rejected = np.zeros(6, dtype=bool)
        for left, place in zip(range(6, 0, -1), np.argsort(values), strict=True):
            if values[place] > 0.05 / left:
                break
            rejected[place] = True
        assert [p <= 0.05 for p in holm(values)] == rejected.tolist()
    assert holm([]) == []
