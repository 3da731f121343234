from __future__ import annotations

import pytest

from imaseg.report.margin_sets import margin_sets, ranked_cases
from imaseg.report.margin_words import margin_text, median_interval, median_meaning, quantile_text
from tests.report.vary import vary


@pytest.fixture
def entry(tiny):
    return tiny.summary.margins[0]


def test_structures_follow_their_whole(tiny):
    sets = margin_sets(tiny)
    assert [[entry.structure for entry in margins.entries] for margins in sets] == [[None, "Front", "Back"], [None]]
    case = tiny.summary.margins[1].per_case[0]
    assert sets[0].margin("Front", case.case) is case
    assert sets[0].margin("Front", "nobody") is sets[1].margin("Front", case.case) is None


def test_cases_are_ranked_by_the_mean_of_their_ranks(tiny):
    def entry(number, margins):
        whole = tiny.summary.margins[number]
        cases = [
            case.model_copy(update={"margin": margin or 9.0, "censored": margin is None})
            for case, margin in zip(whole.per_case, margins, strict=True)
        ]
        return whole.model_copy(update={"per_case": cases})

    # ranks 0 1 2 3 4.5 4.5 and 5 2 1 0 3 4
    audit = vary(tiny, margins=[entry(0, [1, 2, 3, 4, None, None]), entry(3, [6, 3, 2, 1, 4, 5])])
    names = [case.case for case in tiny.summary.metric_per_case]
    assert ranked_cases(audit) == [names[place] for place in (1, 2, 3, 0, 4, 5)]
    assert ranked_cases(vary(tiny, margins=[])) == names


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"median": 0.123456}, "0.123"),
        ({"median": 0.5, "median_at_least": True}, "at least 0.5"),
        ({"median": 1.0, "median_at_least": True}, "above 1"),
        ({"median": None}, "undefined"),
    ],
)
def test_quantiles_that_rest_on_unbroken_cases_are_bounds(entry, more, text):
    assert quantile_text(entry.model_copy(update={"eps": 1.0, "median_at_least": False, **more})) == text


def test_margins_in_words(entry):
    case = entry.per_case[0]
    texts = [
        margin_text(case.model_copy(update={"margin": margin, "censored": censored, "eps": 1.0}))
        for margin, censored in ((0.0, False), (0.25, False), (1.0, True))
    ]
    assert texts == ["0 (fails unattacked)", "0.25", "above 1"]
    assert median_interval(entry.model_copy(update={"median_ci95": [0.1, 1.0], "eps": 1.0})) == "[0.1, above 1]"
    assert median_interval(entry.model_copy(update={"median_ci95": None})) == "no interval below n = 7"


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"median_share_of_range": 0.0123}, "1.2 % of the intensity range"),
        ({"perturbation": "bias-field"}, "1.5 times as bright or dark"),
        ({"perturbation": "bias-field", "median": 0.000421}, "1.0004 times as bright or dark"),
        ({"perturbation": "gamma", "median": 0.02}, "exponents from 0.98 to 1.02"),
        ({"perturbation": "gamma"}, "exponents from 0.667 to 1.5"),
        ({"perturbation": "gamma", "median_at_least": True}, "exponents beyond 0.667 and 1.5"),
        ({"perturbation": "bias-field", "median_at_least": True}, "over 1.5 times as bright or dark"),
        ({"perturbation": "bias-field", "median": 0.0}, ""),
        ({"perturbation": "deformation"}, ""),
    ],
)
def test_what_a_median_means(entry, more, text):
    plain = {"median": 0.5, "median_at_least": False, "median_share_of_range": None}
    assert median_meaning(entry.model_copy(update={**plain, **more})) == text
