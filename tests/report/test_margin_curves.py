from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imaseg.report.margin_curves import unbroken
from imaseg.report.margin_schema import Row


def rows(values):
    return [
        (f"c{i}", Row(perturbation="l2", unit="rms", structure="whole", eps=1.0, margin=m, censored=c))
        for i, (m, c) in enumerate(values)
    ]


def to_the_right(values, budget):
    """Share unbroken just beyond a budget; the weight of each censored case goes to those beyond it (Efron)."""
    order = sorted(values, key=lambda pair: (pair[0], pair[1]))
    weight = np.full(len(order), 1 / len(order))
    for i, (_, censored) in enumerate(order):
        if censored and i + 1 < len(order):
            weight[i + 1 :] += weight[i] / (len(order) - i - 1)
            weight[i] = 0
    return sum(w for w, (margin, _) in zip(weight, order, strict=True) if margin > budget)


values = st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.2, 0.3, 0.5, 1.0]), st.booleans()), min_size=1, max_size=12)


@settings(deadline=None)
@given(values)
def test_shares_are_those_of_redistribution_to_the_right(found):
    falls, ends = unbroken(rows(found))
    last = max(margin for margin, _ in found)
    for drop in falls:
        if drop.budget < last:
            assert drop.share == pytest.approx(to_the_right(found, drop.budget), abs=1e-9)
    named = [case for drop in (*falls, *ends) for case in drop.cases]
    assert sorted(named) == sorted(f"c{i}" for i in range(len(found)))


def test_with_one_ceiling_it_is_the_share_of_larger_margins():
    found = [(0.2, False), (0.4, False), (1.0, True), (0.4, False)]
    falls, ends = unbroken(rows(found))
    assert [(drop.budget, drop.share) for drop in falls] == [(0.2, 0.75), (0.4, pytest.approx(0.25))]
    assert [(drop.budget, drop.share, drop.cases) for drop in ends] == [(1.0, pytest.approx(0.25), ["c2"])]
