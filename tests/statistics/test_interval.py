"""Intervals against scipy, closed forms, brute force and a simulation."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from imaseg.statistics import FEWEST, mean_interval, mean_intervals, median_interval


def _values(n, seed=0):
    return np.random.default_rng(seed).beta(5, 2, n)


def _covered(intervals, truth):
    return np.mean([low <= truth <= high for low, high in intervals])


def test_of_a_mean_it_is_student_t():
    values = _values(9)
    theirs = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert mean_interval(values.tolist()) == pytest.approx([theirs.low, theirs.high])
    own = [f"patient {n}" for n in range(9)]
    assert mean_interval(values.tolist(), own) == pytest.approx([theirs.low, theirs.high])


def test_of_a_median_it_lies_between_order_statistics():
    values = _values(11)
    low, high = median_interval(values.tolist())
    place = int(scipy.stats.binom(11, 0.5).ppf(0.025))  # fewer than so many cases lie on one side of the median
    assert [low, high] == [np.sort(values)[place - 1], np.sort(values)[11 - place]]


@pytest.mark.parametrize("n", [FEWEST, 10, 17, 35])
def test_intervals_of_normal_values_cover_what_they_claim(n):
    samples = np.random.default_rng(0).normal(0.8, 0.1, (2000, n))
    assert 0.93 < _covered(mean_intervals(samples), 0.8) < 0.97
    assert 0.935 < _covered([median_interval(row) for row in samples], 0.8) < 0.995


def test_the_percentile_bootstrap_would_not():
    samples = np.random.default_rng(0).normal(0.8, 0.1, (2000, FEWEST))
    found = scipy.stats.bootstrap((samples,), np.mean, axis=1, n_resamples=500, method="percentile", batch=50, rng=0)
    assert _covered(np.transpose(found.confidence_interval), 0.8) < 0.90


def test_the_fewest_is_where_lost_structures_are_covered_nine_times_in_ten(monkeypatch):
    monkeypatch.setattr("imaseg.statistics.interval.FEWEST", 2)
    rng, covered = np.random.default_rng(0), {}
    for n in (3, FEWEST - 1, FEWEST):
        samples = np.where(rng.random((10000, n)) < 0.3, 0.0, rng.beta(9, 2, (10000, n)))
        covered[n] = _covered(mean_intervals(samples), 0.7 * 9 / 11)
    assert covered[3] < 0.82
    assert covered[FEWEST - 1] < 0.89
    assert covered[FEWEST] > 0.895


def _patients(rng, patients):
    """Half of the variance lies between patients, who have 1 to 24 cases."""
    who = np.repeat(np.arange(patients), rng.integers(1, 25, patients))
    return 0.8 + 0.07 * rng.standard_normal(patients)[who] + 0.07 * rng.standard_normal(len(who)), who.astype(str)


def test_cases_of_one_patient_do_not_narrow_it():
    rng = np.random.default_rng(0)
    samples = [_patients(rng, 10) for _ in range(800)]
    assert _covered([mean_interval(values, who) for values, who in samples], 0.8) > 0.92
    assert _covered([median_interval(values, who) for values, who in samples], 0.8) > 0.92
    assert _covered([mean_interval(values) for values, _ in samples], 0.8) < 0.6
    assert _covered([median_interval(values) for values, _ in samples], 0.8) < 0.7


def test_it_is_the_t_interval_of_leaving_out_one_patient_at_a_time():
    values, who = _patients(np.random.default_rng(1), 9)
    without = np.array([values[who != name].mean() for name in sorted(set(who))])
    half = scipy.stats.t(8).ppf(0.975) * np.sqrt(8 / 9 * ((without - values.mean()) ** 2).sum())
    assert mean_interval(values, who) == pytest.approx([values.mean() - half, values.mean() + half])


def test_patients_with_as_many_cases_each_give_the_t_interval_of_their_means():
    values = _values(40)
    means = values.reshape(8, 5).mean(1)
    assert mean_interval(values, np.repeat(list("abcdefgh"), 5)) == pytest.approx(mean_interval(means))


def test_rows_get_what_each_would_get_alone_without_its_undefined_values():
    rows = np.stack([_values(12, seed) for seed in range(3)])
    rows[1, 2], rows[2, :6] = np.nan, np.nan
    who = np.array(list("aabbccddefgh"))
    for one, together in zip(rows, mean_intervals(rows, who), strict=True):
        there = np.isfinite(one)
        alone = mean_interval(one[there], who[there])
        assert together == (alone if alone is None else pytest.approx(alone))
    assert mean_intervals([[None] * 9]) == [None]
    assert mean_intervals([]) == []


def test_fewer_values_or_patients_have_no_interval():
    few, many = [0.5] * (FEWEST - 1), [0.5, 0.6] * 20
    assert (mean_interval(few), median_interval(few)) == (None, None)
    who = [str(place % (FEWEST - 1)) for place in range(40)]
    assert (mean_interval(many, who), median_interval(many, who)) == (None, None)
    assert (mean_interval([]), median_interval([])) == (None, None)


def test_equal_values_have_an_interval_of_no_width():
    assert mean_interval([0.5] * 9) == median_interval([0.5] * 9) == [0.5, 0.5]


def test_it_ends_where_values_do():
    values = [1.0] * 8 + [0.2]
    assert mean_interval(values)[1] > 1
    assert mean_interval(values, within=(0.0, 1.0)) == pytest.approx([mean_interval(values)[0], 1.0])
