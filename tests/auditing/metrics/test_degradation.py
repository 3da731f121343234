"""Degradation scores against the definition of ROOD-MRI and sums by hand."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from imaseg.auditing.metrics.degradation import ALPHA, degradation, degradation_line
from imaseg.results import CaseRecord
from imaseg.results.case import CaseScale
from imaseg.results.corruption import CorruptionRow, LeftOutRow


def _record(case, clean, losses, **left_out):
    """A record whose Dice falls by `losses[name][severity - 1]`."""

    def scores(dice):
        return {"foreground_mean": {"dice": dice}}

    rows = [
        CorruptionRow(
            probe="corruptions", corruption=name, severity=s, parameters={}, change=0.1, reached=True,
            before_normalisation=True, scores=scores(clean - fall),
        )
        for name, falls in losses.items()
        for s, fall in enumerate(falls, 1)
    ]  # fmt: skip
    rows += [LeftOutRow(probe="corruptions", corruption=name, reason=reason) for name, reason in left_out.items()]
    return CaseRecord(
        case=case,
        clean=scores(clean),
        volumes={},
        scale=CaseScale(spacing=[1.0, 1.0], std=1.0, span=1.0, native=None),
        rows=rows,
    )


def _as_published(records, name):
    """The order of the authors' package: means over cases first, then weights (2/3)^severity."""
    clean = np.mean([r.clean["foreground_mean"]["dice"] for r in records])
    weights, falls = [], []
    for severity in range(1, 6):
        dice = [
            row.dice
            for r in records
            for row in r.rows_of(CorruptionRow)
            if (row.corruption, row.severity) == (name, severity)
        ]
        weights.append((2 / 3) ** severity)
        falls.append(clean - np.mean(dice))
    return np.average(falls, weights=weights)


def test_degradation_is_that_of_rood_mri():
    rng = np.random.default_rng(0)
    records = [_record(f"c{i}", 0.9 - i / 100, {n: rng.uniform(0, 0.4, 5) for n in ("a", "b", "c")}) for i in range(7)]
    found = degradation(records)
    expected = {name: _as_published(records, name) for name in ("a", "b", "c")}
    assert found.per_corruption == pytest.approx(expected)
    assert found.mean == pytest.approx(np.mean(list(expected.values())))
    assert found.worst == max(found.per_corruption.values()) == found.per_corruption[found.worst_corruption]
    clean = np.mean([0.9 - i / 100 for i in range(7)])
    assert found.relative.mean == pytest.approx(found.mean / clean)
    assert found.ci95[0] < found.mean < found.ci95[1]
    assert all(low < expected[name] < high for name, (low, high) in found.per_corruption_ci95.items())
    assert ALPHA == 2 / 3


def _without_each(records, of):
    return np.array([of([r for r in records if r.unit != unit]) for unit in sorted({r.unit for r in records})])


def _t_interval(mean, without):
    n = len(without)
    half = scipy.stats.t(n - 1).ppf(0.975) * np.sqrt((n - 1) / n * ((without - mean) ** 2).sum())
    return [mean - half, mean + half]


def test_intervals_are_those_of_leaving_out_one_patient_at_a_time():
    rng = np.random.default_rng(0)
    losses = [{n: rng.uniform(0, 0.4, 5) for n in ("a", "b")} for _ in range(12)]
    for case in range(9):
        del losses[case]["b"]
    records = [
        _record(f"c{i}", 0.9 - i / 100, found).model_copy(update={"patient": f"p{max(3, i)}"})
        for i, found in enumerate(losses)
    ]
    found = degradation(records)
    without = _without_each(records, lambda some: _as_published(some, "a"))
    assert len(without) == 9
    assert found.per_corruption_ci95["a"] == pytest.approx(_t_interval(found.per_corruption["a"], without))
    assert found.per_corruption_ci95["b"] is None, "it occurs in three patients only"
    both = _without_each(records, lambda some: degradation(some).mean)
    assert found.ci95 == pytest.approx(_t_interval(found.mean, both))
    relative = _without_each(records, lambda some: degradation(some).relative.mean)
    assert found.relative.ci95 == pytest.approx(_t_interval(found.relative.mean, relative))


def test_a_corruption_of_one_patient_leaves_the_mean_an_interval():
    records = [
        _record(f"c{i}", 0.9, {"a": [0.1 + i / 100] * 5} | ({"b": [0.2] * 5} if not i else {})) for i in range(8)
    ]
    found = degradation(records)
    assert np.isfinite(found.ci95).all()
    assert found.per_corruption_ci95["b"] is None


def test_degradation_by_hand():
    record = _record("one", 0.8, {"a": [0.1, 0.2], "b": [0.0, -0.1]})
    found = degradation([record])
    assert found.per_corruption["a"] == pytest.approx((2 / 3 * 0.1 + 4 / 9 * 0.2) / (2 / 3 + 4 / 9))
    assert found.unweighted.per_corruption == pytest.approx({"a": 0.15, "b": -0.05})
    assert (found.ci95, found.per_corruption_ci95) == (None, {"a": None, "b": None}), "one case has no spread"
    line = "Degradation over 2 corruptions (ROOD-MRI) 0.050 (6% of the clean Dice), worst 0.140 (a)"
    assert degradation_line(found) == line
    assert degradation_line(None) == degradation_line(degradation([_record("one", 0.8, {})])) == ""


def test_cases_where_a_corruption_does_not_occur_do_not_count():
    records = [
        _record("x", 0.8, {"a": [0.1] * 5, "b": [0.2] * 5}),
        _record("y", 0.6, {"a": [0.3] * 5}, b="it has one slice"),
        _record("z", 0.7, {"a": [0.2] * 5}, b="it has one slice"),
    ]
    found = degradation(records)
    assert found.per_corruption == pytest.approx({"a": 0.2, "b": 0.2})
    assert found.relative.per_corruption == pytest.approx({"a": 0.2 / 0.7, "b": 0.25})
    assert found.left_out == {}
    nothing = degradation([_record("z", 0.5, {}, b="it has one slice")])
    assert (nothing.mean, nothing.worst, nothing.per_corruption) == (None, None, {})
    assert nothing.left_out == {"b": "it has one slice"}


@pytest.mark.parametrize("rise", [0.0, 0.1])
def test_nothing_is_relative_to_a_clean_dice_of_0(rise):
    lost = [_record(str(n), 0.0, {"a": [-rise] * 5}) for n in range(8)]
    found = degradation(lost)
    assert found.mean == pytest.approx(-rise)
    assert (found.relative.mean, found.relative.per_corruption) == (None, {})
    one = degradation([*lost, _record("x", 0.5, {"b": [0.1] * 5})])
    assert one.relative.per_corruption == pytest.approx({"b": 0.2})
