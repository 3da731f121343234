from __future__ import annotations

import pytest

from imaseg.report.breaking import breaks, budget_text, crossing, halves_at, native, native_text
from imaseg.report.compare import Series
from imaseg.results.base import Spread
from tests.report.vary import entries, vary, with_dice


@pytest.mark.parametrize(
    ("eps", "dice", "level", "found"),
    [
        ([0, 1, 2], [0.8, 0.6, 0.2], 0.4, 1.5),
        ([0, 1, 2], [0.8, 0.7, 0.6], 0.4, None),
        ([0, 1, 2], [0.8, 0.3, 0.6], 0.4, 0.8),
        ([0, 1, 2], [0.8, None, 0.0], 0.4, 1.0),
        ([0, 1], [0.3, 0.1], 0.4, 0),
        ([0, 1], [0.4, 0.4], 0.4, 0),
        ([], [], 0.4, None),
    ],
)
def test_the_first_crossing_on_straight_lines(eps, dice, level, found):
    assert crossing(eps, dice, level) == (pytest.approx(found) if found is not None else None)


def test_a_case_is_halved_against_its_own_clean_dice(tiny):
    clean = [0.8, 0.4, 0.9, 0.9, 0.9, 0.9]
    lost = [0.8, 0.8, 0.2, 0.1, 0.1, 0.1]  # at 0.2, in proportion to the budget
    rungs = [
        with_dice(e, [a - b * share for a, b in zip(clean, lost, strict=True)]).model_copy(update={"eps": eps})
        for e, eps, share in zip(entries(tiny, probe="pgd-l2"), (0.1, 0.2), (0.5, 1.0), strict=True)
    ]
    audit = vary(tiny, probes=rungs, metric_per_case=with_dice(tiny.summary, clean).metric_per_case)
    first, second, third, *_ = breaks(audit, Series.of(rungs[0]))
    assert [case.case for case in (first, second, third)] == ["phantom_002", "phantom_001", "phantom_003"]
    assert (first.eps, second.eps) == pytest.approx((0.05, 0.1))
    assert third.eps is None
    assert third.lowest == pytest.approx(0.7)


def test_an_undefined_clean_dice_halves_nowhere(tiny):
    series = Series.of(tiny.summary.probes[0])
    assert halves_at(vary(tiny, foreground_mean={"dice": None}), series) is None


def test_native_budgets_are_in_proportion_and_only_of_intensities(tiny):
    entry = entries(tiny, probe="pgd-l2", eps=0.5)[0]
    audit = vary(tiny, probes=[entry.model_copy(update={"eps_native": Spread(median=120, min=30, max=40000)})])
    spread = native(audit, "std", 0.01)
    assert (spread.median, spread.min, spread.max) == pytest.approx((2.4, 0.6, 800))
    assert native(audit, "relative", 0.01) is native(audit, "max", 0.01) is None
    unit = "standard deviations of the image"
    text = f"0.01 {unit} (2.4 grey levels at the median case, 0.6 to 800 over the cases)"
    assert budget_text(audit, "std", 0.01) == text
    assert budget_text(audit, "relative", 0.5) == "0.5 relative change"
    assert [native_text(audit, unit, 0.01) for unit in ("std", "relative", "max")] == [
        "2.4",
        "no intensity",
        "not known",
    ]
