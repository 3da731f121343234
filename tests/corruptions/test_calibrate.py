"""The parameter that makes a wanted change, on curves that are known."""

from __future__ import annotations

import itertools
import math

import pytest

from imaseg.corruptions.calibrate import LADDER, calibrate


@pytest.mark.parametrize(
    ("change", "inverse"),
    [
        (lambda p: 2 * p, lambda c: c / 2),
        (lambda p: p**2, math.sqrt),
        (lambda p: math.sqrt(p), lambda c: c**2),
        (lambda p: math.tanh(p), math.atanh),
        (lambda p: math.expm1(p), math.log1p),
    ],
)
def test_it_finds_the_parameter_of_each_level(change, inverse):
    for setting, level in zip(calibrate(change, 10.0), LADDER, strict=True):
        assert setting.reached
        assert change(setting.parameter) == pytest.approx(level, rel=0.01)
        assert setting.parameter == pytest.approx(inverse(level), rel=0.03)


def test_a_straight_line_costs_one_look_per_level_and_one_for_the_limit():
    seen = []
    calibrate(lambda p: seen.append(p) or 3 * p, 5.0)
    assert len(seen) == 1 + len(LADDER)


def test_levels_beyond_the_limit_are_spread_below_it():
    settings = calibrate(lambda p: 0.3 * p, 1.0)
    changes = [0.3 * setting.parameter for setting in settings]
    assert changes[:3] == pytest.approx([0.05, 0.1, 0.2], rel=0.01)
    assert changes[3] == pytest.approx(math.sqrt(0.2 * 0.3), rel=0.02)
    assert changes[4] == pytest.approx(0.3, rel=0.01)
    assert [setting.reached for setting in settings] == [True, True, True, False, False]
    tiny = calibrate(lambda p: 0.01 * p, 1.0)
    assert [0.01 * setting.parameter for setting in tiny] == pytest.approx([level / 80 for level in LADDER], rel=0.01)
    assert not any(setting.reached for setting in tiny)


def test_steps_and_curves_that_turn_still_rise():
    def stairs(p):
        return math.floor(p * 60) / 60

    def turning(p):
        return 0.5 * p + 0.1 * math.sin(20 * p) ** 2

    for change in (stairs, turning):
        changes = [change(setting.parameter) for setting in calibrate(change, 3.0)]
        assert all(low < high for low, high in itertools.pairwise(changes))


def test_nothing_changes_nothing():
    settings = calibrate(lambda p: 0.0, 2.0)
    parameters = [setting.parameter for setting in settings]
    assert parameters == sorted(set(parameters))
    assert parameters[-1] == 2.0
