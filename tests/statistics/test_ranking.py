"""Rank correlation and risk over coverage against counting by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imaseg.statistics.ranking import rank_correlation, risk_coverage


def test_the_correlation_is_that_of_ranks():
    one, other = [0.1, 0.5, 0.2, 0.9], [1.0, 30.0, 50.0, 200.0]
    ranks = [1, 3, 2, 4], [1, 2, 3, 4]
    assert rank_correlation(one, other)[0] == pytest.approx(np.corrcoef(*ranks)[0, 1])


def test_there_is_none_of_two_cases_or_of_equal_values():
    assert rank_correlation([0.1, 0.2], [1.0, 2.0]) == (None, None)
    assert rank_correlation([0.1, 0.1, 0.1], [1.0, 2.0, 3.0]) == (None, None)


def test_too_few_patients_have_no_interval():
    one, other = [*range(8)], [0, 2, 1, 3, 5, 4, 7, 6]
    assert rank_correlation(one, other)[1] is not None
    assert rank_correlation(one, other, ["a", "a", "b", "b", "c", "c", "d", "d"])[1] is None


def test_the_interval_covers_a_known_correlation():
    """Of a bivariate normal distribution Spearman's correlation is 6 / pi * arcsin(rho / 2)."""
    rng, rho = np.random.default_rng(0), 0.6
    truth, hits, draws = 6 / np.pi * np.arcsin(rho / 2), 0, 400
    for _ in range(draws):
        one = rng.standard_normal(30)
        other = rho * one + np.sqrt(1 - rho**2) * rng.standard_normal(30)
        low, high = rank_correlation(one, other)[1]
        hits += low <= truth <= high
    assert 0.9 <= hits / draws <= 0.99


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 1)), min_size=1, max_size=6))
def test_ties_count_as_the_mean_over_their_orders(pairs):
    score, risk = [one for one, _ in pairs], [other for _, other in pairs]
    areas = [
        np.mean([np.mean([risk[i] for i in order[: k + 1]]) for k in range(len(order))])
        for order in itertools.permutations(range(len(pairs)))
        if all(score[a] >= score[b] for a, b in itertools.pairwise(order))
    ]
    assert risk_coverage(score, risk) == pytest.approx(np.mean(areas))


def test_a_perfect_order_is_best_and_a_useless_one_the_mean():
    risk = [0.1, 0.4, 0.2, 0.8]
    best = risk_coverage([-value for value in risk], risk)
    assert best == pytest.approx(np.mean([0.1, 0.15, 0.7 / 3, 1.5 / 4]))
    assert risk_coverage([1, 1, 1, 1], risk) == pytest.approx(np.mean(risk))
