"""The order of expected failure on records made by hand."""

from __future__ import annotations

import pytest

from imaseg.auditing.metrics.stability import stability
from imaseg.results.base import MEAN
from imaseg.results.case import CaseRecord, CaseScale
from imaseg.results.corruption import CorruptionRow


def scored(dice, error=0.0):
    return {k: {"dice": dice, "volume_error": error} for k in ("1", MEAN)}


def record(case, changed, *, volume=2.0, truth=None):
    rows = [
        CorruptionRow(
            probe="corruptions", corruption="blur", severity=severity, parameters={}, change=0.1, reached=True,
            before_normalisation=False, scores=scored(dice, error),
        )
        for severity, (dice, error) in changed.items()
    ]  # fmt: skip
    return CaseRecord(
        case=case, clean=scored(1.0), truth={} if truth is None else scored(truth), volumes={"1": volume},
        scale=CaseScale(spacing=[1.0] * 3, std=1.0, span=1.0, native=None), rows=rows,
    )  # fmt: skip


def test_only_the_lowest_severity_counts_and_the_least_stable_come_first():
    found = stability([record("a", {1: (0.9, 0), 3: (0.1, 0)}), record("b", {1: (0.7, 0), 3: (0.6, 0)})])
    assert [(case.case, case.agreement) for case in found.cases] == [("b", 0.7), ("a", 0.9)]


def test_a_case_in_which_nothing_was_found_comes_first_and_has_no_score():
    records = [record(name, {1: (dice, 0)}, truth=dice) for name, dice in [("a", 0.5), ("b", 0.7), ("c", 0.9)]]
    empty = record("empty", {1: (1.0, 0)}, volume=0.0, truth=0.0)
    found = stability([*records, empty])
    assert found.cases[0].case == "empty"
    assert not found.cases[0].found
    assert found.cases[0].agreement is None
    (score,) = found.scores
    assert (score.n, score.rank_correlation) == (3, pytest.approx(1.0))


def test_labels_judge_the_order():
    right = [record(f"c{n}", {1: (0.5 + 0.05 * n, 0)}, truth=0.1 * n) for n in range(9)]
    wrong = [record(f"c{n}", {1: (0.5 + 0.05 * n, 0)}, truth=0.9 - 0.1 * n) for n in range(9)]
    best, worst = (stability(records).scores[0] for records in (right, wrong))
    assert best.rank_correlation == pytest.approx(1.0)
    assert best.aurc == pytest.approx(best.aurc_best)
    assert worst.rank_correlation == pytest.approx(-1.0)
    assert worst.aurc > worst.aurc_random


def test_a_volume_that_moves_by_more_than_a_tenth_counts_as_moved():
    records = [record(f"c{n}", {1: (0.9, error)}) for n, error in enumerate([0.0, 0.19, -0.21, 1.0])]
    (change,) = stability(records).volumes
    assert (change.change, change.n, change.moved) == ("blur 1", 4, 0.5)
    assert change.mean == pytest.approx((0.19 - 0.21 + 1.0) / 2 / 4)
    assert change.absolute == pytest.approx((0.19 + 0.21 + 1.0) / 2 / 4)
