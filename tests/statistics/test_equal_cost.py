"""Levels of equal cost where the crossing is known, against a bootstrap, and how often intervals hold the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from imaseg.statistics.equal_cost import equal_cost, mean_difference

LEVELS = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
LINE = 0.9 - 0.05 * np.arange(6)


@pytest.mark.parametrize("level", [0.3, 1.0, 2.6, 5.0])
def test_the_level_is_where_the_line_has_the_other_mean(level):
    found = equal_cost(LEVELS, [LINE] * 8, [0.9 - 0.05 * level] * 8)
    assert found.level == pytest.approx(level)
    assert found.ci95 == pytest.approx((level, level), abs=0.01)


def test_no_worse_is_level_0_and_worse_than_the_last_is_beyond():
    assert equal_cost(LEVELS, [LINE] * 8, [0.95] * 8).level == 0
    assert equal_cost(LEVELS, [LINE] * 8, [0.9] * 8).level == 0
    assert equal_cost(LEVELS, [LINE] * 8, [0.3] * 8) == (math.inf, (math.inf, math.inf))


def test_of_several_crossings_the_lowest_level_counts():
    assert equal_cost([0, 1, 2, 3], [[0.9, 0.7, 0.9, 0.1]], [0.8]).level == pytest.approx(0.5)


def test_levels_need_not_be_neighbours():
    assert equal_cost([0, 1, 5], [[0.9, 0.8, 0.4]], [0.6]).level == pytest.approx(3.0)


def test_few_patients_have_no_interval():
    assert equal_cost(LEVELS, [LINE] * 6, [0.8] * 20).ci95 is None
    assert equal_cost(LEVELS, [LINE] * 20, [0.8] * 20, other_patients=[f"p{i // 4}" for i in range(20)]).ci95 is None
    assert mean_difference([0.5] * 9, [0.4] * 6)[1] is None


def test_the_difference_has_the_interval_of_welch():
    rng = np.random.default_rng(0)
    one, other = rng.normal(0.8, 0.05, 12), rng.normal(0.7, 0.2, 9)
    mean, ends = mean_difference(one, other)
    expected = scipy.stats.ttest_ind(other, one, equal_var=False).confidence_interval()
    assert mean == pytest.approx(other.mean() - one.mean())
    assert ends == pytest.approx([expected.low, expected.high])


def test_a_patient_with_many_cases_counts_as_one():
    rng = np.random.default_rng(1)
    curves, other = LINE + rng.normal(0, 0.03, (10, 1)), rng.normal(0.78, 0.03, 10)
    apart = equal_cost(LEVELS, curves, other)
    copied = np.repeat(curves, 5, axis=0), np.repeat(other, 5), [f"p{i // 5}" for i in range(50)]
    together = equal_cost(LEVELS, *copied, copied[2])
    assert together.ci95 == pytest.approx(apart.ci95, abs=0.01)
    blind = equal_cost(LEVELS, *copied[:2])
    assert blind.ci95[1] - blind.ci95[0] < 0.6 * (apart.ci95[1] - apart.ci95[0]), "copies alone would shrink it"


def draw(rng, n, m, level):
    """Cohorts of which the other is as bad as the first at a level."""
    curves = LINE * rng.normal(1, 0.06, (n, 1)) + rng.normal(0, 0.01, (n, 6))
    return curves, (0.9 - 0.05 * level) + rng.normal(0, 0.08, m)


def test_the_interval_is_about_that_of_resampled_patients():
    rng = np.random.default_rng(2)
    curves, other = draw(rng, 60, 60, 2.5)
    low, high = equal_cost(LEVELS, curves, other).ci95
    resampled = []
    for _ in range(400):
        one, two = rng.integers(60, size=(2, 60))
        means = curves[one].mean(0)
        resampled.append(np.interp(-other[two].mean(), -means, LEVELS))
    expected = np.percentile(resampled, [2.5, 97.5])
    assert [low, high] == pytest.approx(expected, abs=0.15)
    assert high - low > 0.5, "the tolerance is small against it"


def test_the_interval_holds_the_true_level_about_as_often_as_it_says():
    rng, truth = np.random.default_rng(3), 2.5
    found = [equal_cost(LEVELS, *draw(rng, 12, 9, truth)).ci95 for _ in range(300)]
    share = np.mean([low <= truth <= high for low, high in found])
    assert 0.92 <= share <= 0.985
