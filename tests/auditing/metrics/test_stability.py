"""The order of expected failure on records made by hand."""

from __future__ import annotations

import pytest

from imaseg.auditing.metrics.stability import stability
from imaseg.results.base import MEAN
from imaseg.results.case import CaseRecord, CaseScale
from imaseg.results.corruption import CorruptionRow
from imaseg.results.maps import VoxelMap
from imaseg.results.voxel_margin import VoxelMarginRow


def scored(dice, error=0.0):
    return {k: {"dice": dice, "volume_error": error} for k in ("1", MEAN)}


def record(case, changed, *, volume=2.0, truth=None, drawn=(), maps=()):
    rows = [
        CorruptionRow(
            probe="corruptions", corruption="blur", severity=severity, parameters={}, change=0.1, reached=True,
            before_normalisation=False, scores=scored(dice, error),
            volumes=[{"1": ml} for ml in drawn],
        )
        for severity, (dice, error) in changed.items()
    ]  # fmt: skip
    if maps:
        rows.append(VoxelMarginRow(probe="voxels", maps=[*maps], forward_calls=0, backward_calls=0))
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


def test_the_variation_is_that_of_volumes_over_draws():
    """Of 1, 2 and 3 ml the standard deviation is 1 and the mean 2; of 2, 2 and 5 ml they are sqrt(3) and 3."""
    records = [
        record("a", {1: (0.9, 0)}, drawn=[1.0, 2.0, 3.0]),
        record("b", {1: (0.9, 0)}, drawn=[2.0, 2.0, 5.0]),
        record("never found", {1: (0.9, 0)}, drawn=[0.0, 0.0, 0.0]),
    ]
    (found,) = stability(records).volumes
    assert found.variation == pytest.approx((1 / 2 + 3**0.5 / 3) / 2)
    assert stability([record("a", {1: (0.9, 0)})]).volumes[0].variation is None


def voxel_map(mean, *, method="attack", eps=2.0):
    return VoxelMap(
        perturbation="l2", unit="rms", method=method, eps=eps, view="cases/a.npz", array=method, file=None, right=9,
        censored=3, median=0.1, mean_inside=mean, bands=[],
    )  # fmt: skip


def test_margins_of_voxels_judge_the_order_too():
    margins = [0.2, 0.4, 0.8, 1.6, 2.0]
    records = [
        record(f"c{n}", {1: (0.9, 0)}, truth=0.5 + 0.1 * n, maps=[voxel_map(mean)]) for n, mean in enumerate(margins)
    ]
    found = stability(records)
    assert [case.voxel_margin for case in found.cases] == pytest.approx([mean / 2 for mean in margins])
    (score,) = [one for one in found.scores if one.score == "voxel_margin"]
    assert (score.n, score.rank_correlation) == (5, pytest.approx(1.0))
    assert score.aurc == pytest.approx(score.aurc_best)


def test_attacks_stand_before_their_estimate_and_the_smallest_set_counts():
    maps = [voxel_map(1.0), voxel_map(0.1, method="gradient")]
    (case,) = stability([record("a", {1: (0.9, 0)}, maps=maps)]).cases
    assert case.voxel_margin == 0.5
    both = record("a", {1: (0.9, 0)}, maps=maps)
    other = VoxelMarginRow(probe="other", maps=[voxel_map(0.4)], forward_calls=0, backward_calls=0)
    (case,) = stability([both.model_copy(update={"rows": [*both.rows, other]})]).cases
    assert case.voxel_margin == 0.2
    assert stability([record("a", {1: (0.9, 0)}, volume=0.0, maps=maps)]).cases[0].voxel_margin is None
