from __future__ import annotations

import pytest

from imaseg.progress import counted
from imaseg.report.wording import bracket, decimal, in_words, listing, short, unit_name


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.05, "0.05"),
        (0.1, "0.1"),
        (12.14, "12.1"),
        (999.6, "1000"),
        (4031.2, "4030"),
        (100.0, "100"),
        (0, "0"),
        (None, "undefined"),
    ],
)
def test_short_keeps_three_significant_digits(value, text):
    assert short(value) == text


def test_minus_signs_are_typographic_and_zero_has_none():
    assert decimal(-0.25, 2) == "\N{MINUS SIGN}0.25"
    assert decimal(-0.0, 1) == "0.0"
    assert decimal(0.5, 1, sign=True) == "+0.5"
    assert decimal(None, sign=True) == "undefined"


def test_half_known_intervals_are_no_intervals():
    assert bracket((0.1, None)) == "no interval below n = 7"
    assert in_words(None) == "no interval: fewer than 7 cases or patients"


def test_words():
    assert counted(2, "case") == "2 cases"
    assert listing([]) == ""
    assert unit_name("furlong") == "furlong"
