"""Cases that fail or are empty without any change, and what is said of them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from imaseg.results.standing import standing


def summary(dices, *, margins=None, found=None):
    """What the function looks at, of as many cases as there are Dices."""
    names = [f"c{number}" for number in range(len(dices))]
    cases = [SimpleNamespace(case=name, dice=dice) for name, dice in zip(names, dices, strict=True)]
    per_case = [SimpleNamespace(case=name, margin=margin) for name, margin in zip(names, margins or [], strict=False)]
    whole = SimpleNamespace(structure=None, per_case=per_case, criterion="Dice below 0.7")
    expected = [SimpleNamespace(case=name, found=one) for name, one in zip(names, found or [], strict=False)]
    return SimpleNamespace(
        metric_per_case=cases,
        data=SimpleNamespace(reference="prediction" if found else "label"),
        margins=[whole] if margins else [],
        stability=SimpleNamespace(cases=expected) if found else None,
    )


def test_without_margins_cases_in_which_next_to_nothing_is_found_fail():
    stands = standing(summary([0.9, 0.09, 0.1, 0.0]))
    assert (stands.cases, stands.fallen) == (("c0", "c2"), ("c1", "c3"))
    assert stands.sentence == "2 of 4 cases fail without any change (Dice below 0.1)."
    assert (stands.many, stands.others) == (True, "the other 2 cases")


def test_margins_decide_by_their_own_criterion():
    stands = standing(summary([0.9, 0.6, 0.2], margins=[0.3, 0.0, 0.1]))
    assert stands.fallen == ("c1",)
    assert stands.sentence == "1 of 3 cases fails without any change (Dice below 0.7)."


def test_a_relative_criterion_does_not_let_what_is_not_found_stand():
    stands = standing(summary([0.9, 0.0, 0.6], margins=[0.3, 0.1, 0.0]))
    assert stands.fallen == ("c1", "c2")
    assert stands.rule == "Dice below 0.7; or Dice below 0.1"


def test_against_its_own_prediction_only_empty_cases_have_nothing_to_lose():
    stands = standing(summary([1.0, 1.0, 1.0], found=[False, True, False]))
    assert (stands.cases, stands.sentence) == (("c1",), "Nothing is found in 2 of 3 cases.")


@pytest.mark.parametrize(("failing", "many"), [(0, False), (1, False), (2, True)])
def test_one_in_ten_is_not_many(failing, many):
    stands = standing(summary([0.0] * failing + [0.8] * (10 - failing)))
    assert stands.many is many
    assert bool(stands.sentence) is bool(failing)
