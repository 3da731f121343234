"""Dice by size of the structure."""

from __future__ import annotations

import pytest

from imaseg.auditing.metrics.sizes import by_size, groups
from imaseg.results.base import CaseScores
from imaseg.statistics import mean_interval


def _scores(dice):
    return [CaseScores(case=case, metrics={"1": {"dice": value}, "2": {"dice": 1.0}}) for case, value in dice.items()]


def _names(n):
    return [f"c{i:02d}" for i in range(n)]


@pytest.mark.parametrize(
    ("n", "sizes"),
    [(1, {"all": 1}), (5, {"all": 5}), (6, {"small": 3, "large": 3}), (8, {"small": 4, "large": 4}),
     (9, {"small": 3, "medium": 3, "large": 3}), (17, {"small": 6, "medium": 5, "large": 6})],
)  # fmt: skip
def test_thirds_where_there_are_enough_cases(n, sizes):
    volumes = {case: float(n - place) for place, case in enumerate(_names(n))}
    found = groups(volumes)
    assert {name: len(cases) for name, cases in found.items()} == sizes
    assert [case for cases in found.values() for case in cases] == sorted(volumes, key=volumes.get)


def test_equal_volumes_are_never_torn_apart():
    assert groups(dict.fromkeys(_names(12), 2.0)) == {"small": _names(12)}
    assert groups({}) == {}


def test_means_are_those_of_the_cases_in_the_group():
    cases = _names(21)
    units = dict(zip(cases, cases, strict=True))
    volumes = {case: {"1": 1.0 + place, "2": 0.0} for place, case in enumerate(cases)}
    clean = _scores({case: 0.04 * place for place, case in enumerate(cases)})
    attacked = ("pgd-l2", 0.1, _scores(dict.fromkeys(cases, 0.05)))
    small, medium, large = by_size(volumes, clean, [attacked], ["1", "2"], units)
    assert [entry.group for entry in (small, medium, large)] == ["small", "medium", "large"]
    assert small.structure == "1"
    assert small.volume_ml == [1.0, 7.0]
    assert large.volume_ml == [15.0, 21.0]
    assert small.n == 7
    assert small.clean == pytest.approx(0.12)
    assert large.clean == pytest.approx(0.68)
    assert large.clean_ci95 == pytest.approx(mean_interval([0.04 * place for place in range(14, 21)]))
    assert by_size(volumes, clean, [], ["1"], dict.fromkeys(cases, "one patient"))[2].clean_ci95 is None
    (entry,) = small.probes
    assert (entry.probe, entry.eps, entry.dice, entry.ci95) == (
        "pgd-l2", 0.1, pytest.approx(0.05), pytest.approx([0.05, 0.05])
    )  # fmt: skip


def test_cases_without_the_structure_or_a_known_volume_are_left_out():
    cases = _names(4)
    volumes = {cases[0]: {"1": 0.0}, cases[1]: {}, cases[2]: {"1": 2.0}, cases[3]: {"1": 1.0}}
    (entry,) = by_size(volumes, _scores(dict.fromkeys(cases, 0.5)), [], ["1"], dict(zip(cases, cases, strict=True)))
    assert entry.n == 2
    assert entry.volume_ml == [1.0, 2.0]
    assert entry.clean_ci95 is None


def test_dice_on_the_grid_of_the_files_is_averaged_over_the_same_cases():
    cases = _names(3)
    volumes = {case: {"1": 1.0} for case in cases}
    there = [
        CaseScores(case=case, metrics={"1": {"dice": 0.5, "native_dice": value}})
        for case, value in zip(cases, (0.1, 0.2, 0.6), strict=True)
    ]
    plain, units = _scores(dict.fromkeys(cases, 0.5)), dict(zip(cases, cases, strict=True))
    (group,) = by_size(volumes, plain, [("pgd-l2", 0.1, there)], ["1"], units)
    assert (group.clean_native, group.probes[0].native_dice) == (None, pytest.approx(0.3))
