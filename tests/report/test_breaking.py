from __future__ import annotations

import pytest

from imaseg.report.breaking import breaks, budget_text, crossing, halves_at, native
from imaseg.report.compare import all_series
from imaseg.report.read import read_audits


def pgd(audit):
    return next(series for series in all_series([audit]) if series.probe == "pgd-l2")


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


def test_a_case_is_halved_against_its_own_clean_dice(write_audit):
    def edit(summary, run):
        clean = {"case_000": 0.8, "case_001": 0.4, "case_002": 0.9}
        for case in summary["metric_per_case"]:
            case["metrics"]["foreground_mean"]["dice"] = clean[case["case"]]
        for probe in summary["probes"]:
            for case in probe["metric_per_case"]:
                fall = {"case_000": 4.0, "case_001": 4.0, "case_002": 1.0}[case["case"]] * probe["eps"]
                case["metrics"]["foreground_mean"]["dice"] = clean[case["case"]] - fall

    (audit,) = read_audits([write_audit(cases=3, slices=False, edit=edit)])
    found = breaks(audit, pgd(audit))
    assert [one.case for one in found] == ["case_001", "case_000", "case_002"]
    assert found[0].eps == pytest.approx(0.05)
    assert found[1].eps == pytest.approx(0.1)
    assert found[2].eps is None
    assert found[2].lowest == pytest.approx(0.8)


def test_an_undefined_clean_dice_halves_nowhere(write_audit):
    (audit,) = read_audits([write_audit(cases=2, slices=False, edit=lambda s, r: s.update(foreground_mean={}))])
    assert halves_at(audit, pgd(audit)) is None


def test_native_budgets_are_in_proportion_and_only_of_intensities(write_audit):
    (audit,) = read_audits([write_audit(cases=2, slices=False)])
    span = native(audit, "rms", 0.01)
    assert (span.median, span.min, span.max) == pytest.approx((2.4, 0.6, 800))
    assert native(audit, "relative", 0.01) is None
    assert native(audit, "max", 0.01) is None
    text = budget_text(audit, "rms", 0.01)
    assert text == "0.01 RMS per voxel (2.4 in the image's own units at the median case, 0.6 to 800 over the cases)"
    assert budget_text(audit, "relative", 0.5) == "0.5 relative change"
