from __future__ import annotations

import pytest

from imaseg.report.compare import (
    Point,
    Series,
    at,
    clean_point,
    ladder,
    main_series,
    paired,
    settings,
    strongest,
    telling,
)  # fmt: skip
from imaseg.results.base import MEAN, CaseScores
from imaseg.statistics import mean_interval
from tests.report.vary import entries, vary, with_dice


def point(**dice):
    cases = [CaseScores(case=case, metrics={MEAN: {"dice": value}}) for case, value in dice.items()]
    return Point(0.0, len(cases), {"dice": None}, None, cases, None)


def probes(*series):
    return [series.probe for series in series]


def without(audit, **wanted):
    return [entry for entry in audit.summary.probes if entry not in entries(audit, **wanted)]


def test_the_strongest_of_each_set_is_the_attack_with_the_lowest_dice(tiny):
    assert probes(*strongest([tiny])) == ["worst-case-l2", "pgd-gamma"]
    attacks = vary(tiny, probes=without(tiny, attack="worst-case"))
    assert probes(*strongest([attacks])) == ["pgd-l2", "pgd-gamma"]
    flawless = [with_dice(entry, [0.0] * 6) for entry in entries(tiny, attack="fgsm")]
    assert probes(*strongest([vary(tiny, probes=[*entries(tiny, attack="pgd"), *flawless])])) == [
        "fgsm-l2",
        "pgd-gamma",
    ]


def test_noise_is_never_the_strongest_attack(tiny):
    noise = [with_dice(entry, [0.0] * 6) for entry in entries(tiny, attack="gaussian-noise")]
    assert probes(*strongest([vary(tiny, probes=[*noise, *entries(tiny, attack="fgsm")])])) == ["fgsm-l2"]
    assert strongest([vary(tiny, probes=noise)]) == []
    assert main_series([vary(tiny, probes=noise)]) is None


def test_an_attack_that_one_model_lacks_is_judged_where_it_was_run(tiny):
    first = vary(tiny, "a", probes=without(tiny, attack="worst-case"))
    second = vary(tiny, "b", probes=entries(tiny, attack="fgsm"))
    assert probes(*strongest([first, second])) == ["pgd-l2", "pgd-gamma"]


def test_models_are_compared_under_the_set_and_budget_of_the_pictures(tiny):
    main = main_series([tiny])
    assert main.probe == "worst-case-l2"
    assert telling([tiny], main) == 0.5
    other = vary(tiny, probes=[e for e in tiny.summary.probes if e.eps != 0.5])
    assert telling([tiny, other], main) == 0.1
    assert telling([vary(tiny, showcase=None)], main) == 0.5
    assert main_series([vary(tiny, showcase=None, probes=tiny.summary.probes[::-1])]).perturbation == "l2"


def test_ladders_rise_and_noise_has_draws_not_steps(tiny):
    audit = vary(tiny, probes=tiny.summary.probes[::-1])
    series = Series.of(entries(tiny, attack="gaussian-noise")[0])
    assert [rung.eps for rung in ladder(audit, series)] == [0.1, 0.5]
    assert at(audit, series, 0.7) is None
    assert settings(ladder(audit, series)[0]) == "1 draw, seed 7"
    assert settings(ladder(tiny, Series.of(entries(tiny, probe="pgd-l2")[0]))[0]) == (
        "objective dice, 3 steps, 1 restart, seed 7"
    )
    assert settings(clean_point(tiny)) == ""


def test_paired_difference_uses_shared_defined_cases_only():
    more = {f"m{place}": 0.5 + place / 100 for place in range(6)}
    before = point(a=0.8, b=0.9, c=0.1, d=None, e=0.5, **more)
    after = point(b=0.6, a=0.7, x=1.0, d=0.5, e=0.3, **dict.fromkeys(more, 0.3))
    change, gaps = paired(before, after), [-0.1, -0.3, -0.2, *(0.3 - value for value in more.values())]
    assert change.mean == pytest.approx(sum(gaps) / 9)
    assert change.n == 9
    assert change.ci95 == pytest.approx(mean_interval(gaps))


def test_cases_of_one_patient_count_as_one_in_a_difference():
    dice = {f"c{place:02d}": 0.5 + place**2 / 1000 for place in range(16)}
    before, after = point(**dict.fromkeys(dice, 0.4)), point(**dice)
    patients = {case: f"p{place // 2}" for place, case in enumerate(dice)}
    found = [paired(before._replace(units=own), after._replace(units=other)).ci95 for own, other in
             ((patients, {}), ({}, patients))]  # fmt: skip
    expected = mean_interval([value - 0.4 for value in dice.values()], [*patients.values()])
    assert found == [pytest.approx(expected)] * 2
    assert expected != pytest.approx(paired(before, after).ci95)


def test_few_shared_cases_have_no_interval_and_none_no_difference():
    assert paired(point(a=0.5, b=0.5), point(a=0.75, b=0.7)).ci95 is None
    assert paired(point(a=0.5), point(b=0.5)) is None
    assert paired(None, point(a=0.5)) is None
