"""Budgets of attacks in native units over cases, and passes counted in calls of the real model."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from imaseg.auditing.probes import AttackProbe
from imaseg.auditing.probes.attack import native_budget, sizes_in_all_units, spent
from imaseg.auditing.probes.scene import Scene
from imaseg.results.case import CaseRecord, CaseScale


def case(native, std=1.0, span=10.0):
    scale = CaseScale(spacing=[1.0, 1.0, 1.0], std=std, span=span, native=native)
    return CaseRecord(case="a", clean={"foreground_mean": {}}, volumes={}, scale=scale, rows=[])


@pytest.mark.parametrize(
    ("unit", "expected"), [(None, (2.0, 1.0, 4.0)), ("std", (6.0, 3.0, 8.0)), ("range", (20.0, 10.0, 40.0))]
)
def test_a_budget_is_stated_in_native_units_over_the_cases(unit, expected):
    records = [case(10.0, 3.0), case(20.0, 3.0), case(40.0, 2.0)]
    spread = native_budget(records, 0.1, AttackProbe(attack="pgd", perturbation="linf", unit=unit, eps=[0.1]))
    assert (spread.median, spread.min, spread.max) == pytest.approx(expected)


def test_a_budget_has_no_native_units_where_a_case_has_none_or_eps_is_no_intensity():
    linf, gamma = (AttackProbe(attack="pgd", perturbation=name, eps=[0.1]) for name in ("linf", "gamma"))
    assert native_budget([case(10.0), case(None)], 0.1, linf) is None
    assert native_budget([case(10.0)], 0.1, gamma) is None


def test_sizes_are_stated_in_every_unit_that_the_case_has():
    sizes = {"l2": 6.0, "rms": 0.5, "linf": 2.0, "range": 0.2}
    scale = CaseScale(spacing=[1.0], std=4.0, span=10.0, native=100.0)
    more = {"rms_std": 0.125, "linf_std": 0.5, "rms_native": 50.0, "linf_native": 200.0}
    assert sizes_in_all_units(sizes, scale) == pytest.approx(sizes | more)
    assert sizes_in_all_units(sizes, scale.model_copy(update={"native": None, "std": 0.0})) == sizes


def test_passes_of_a_smoothed_model_count_as_many_times_as_it_has_copies():
    scene = SimpleNamespace(forward_calls=1, backward_calls=2)
    Scene.count(scene, SimpleNamespace(forward_calls=3, backward_calls=5), copies=8)
    Scene.count(scene, SimpleNamespace(forward_calls=7))
    assert (scene.forward_calls, scene.backward_calls) == (1 + 24 + 7, 2 + 40)


def test_sizes_are_medians_over_the_cases_that_were_changed():
    def row(size):
        return SimpleNamespace(
            sizes={"rms": size, "linf": 2 * size}, near=None, made_on="", searched_near=None, scores={}, eps=0.1
        )

    rows = [row(size) for size in (0.0, 0.0, 0.0, 0.1, 0.3)]
    assert spent(rows) == ({"rms": 0.2, "linf": 0.4}, 2)
    assert spent(rows[:3]) == ({"rms": 0.0, "linf": 0.0}, 0)
