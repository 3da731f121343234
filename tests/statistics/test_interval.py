"""Bootstrap intervals against scipy, theory and a simulation."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from imaseg.statistics import bootstrap, bootstrap_each


def _values(n, seed=0):
    return np.random.default_rng(seed).beta(5, 2, n)


def test_equals_the_percentile_method_by_hand():
    values = _values(9)
    draws = np.random.default_rng(0).integers(9, size=(2000, 9))
    expected = np.percentile(values[draws].mean(1), [2.5, 97.5])
    assert bootstrap(values.tolist()) == pytest.approx(expected)


def test_the_median_equals_scipys():
    values = _values(11)
    theirs = scipy.stats.bootstrap(
        (values,), np.median, n_resamples=2000, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    assert bootstrap(values.tolist(), median=True) == pytest.approx([theirs.low, theirs.high])


def test_is_about_the_normal_interval_for_many_values():
    values = _values(400)
    half = 1.96 * values.std(ddof=1) / 20
    assert bootstrap(values.tolist()) == pytest.approx([values.mean() - half, values.mean() + half], abs=0.003)


def test_columns_get_what_each_would_get_alone():
    columns = {"a": _values(8), "b": _values(8, 1), "c": _values(5, 2), "d": _values(2, 3)}
    together = bootstrap_each(columns)
    assert list(together) == ["a", "b", "c", "d"]
    assert together["d"] is None
    for name in "abc":
        assert together[name] == pytest.approx(bootstrap(columns[name]))


@pytest.mark.parametrize("values", [[], [0.5], [0.5, 0.7]])
def test_fewer_than_three_values_have_no_interval(values):
    assert bootstrap(values) is None


def test_equal_values_have_an_interval_of_no_width():
    assert bootstrap([0.5] * 9) == [0.5, 0.5]


def test_ninety_five_of_a_hundred_intervals_cover_the_mean():
    samples = np.random.default_rng(0).normal(0.8, 0.1, (300, 40))
    intervals = bootstrap_each(dict(enumerate(samples))).values()
    covered = np.mean([low <= 0.8 <= high for low, high in intervals])
    assert 0.90 < covered < 0.98
