"""The section on volumes: figures, table, which structures it shows, and audits that hold none."""

from __future__ import annotations

import pytest

from imaseg.report.compare import at, main_series
from imaseg.report.page import render
from imaseg.report.sections import volumes
from imaseg.report.wording import decimal
from tests.report.parser import Page
from tests.report.vary import vary


def _shown(audit):
    """The strongest attack of the pictures' set at their budget."""
    return at(audit, main_series([audit]), audit.summary.showcase.eps).probe


def test_every_structure_has_a_plot_whose_points_are_the_cases(tiny):
    section = volumes.build([tiny])
    figures = section.blocks[0].blocks
    assert len(figures) == len(tiny.summary.mean)
    points, *_ = figures[0].plot["data"]
    after = _shown(tiny)
    errors = {one.case: one.metrics["1"]["volume_error"] for one in tiny.summary.metric_per_case}
    found = {one.case: one.metrics["1"]["volume_error"] for one in after.metric_per_case}
    assert list(points["y"]) == [pytest.approx(found[case] - errors[case]) for case in found]
    real = {record.case: record.volumes["1"] for record in tiny.cases}
    assert list(points["x"]) == [pytest.approx(real[case] + (errors[case] + found[case]) / 2) for case in found]


def test_the_table_says_the_bias_and_that_few_cases_have_no_limits(tiny):
    key = ("1", _shown(tiny).probe, _shown(tiny).eps)
    one = next(c for c in tiny.summary.volume_changes if (c.structure, c.probe, c.eps) == key)
    text = str(volumes.build([tiny]).blocks[-1])
    assert decimal(one.bias_ml, sign=True) in text
    assert "no interval below n = 7" in text


def test_limits_stand_under_the_bias(tiny):
    changes = [
        one.model_copy(update={"ci95": [-0.5, 0.25], "limits_ml": [-2.0, 1.5]}) for one in tiny.summary.volume_changes
    ]
    text = Page(render([vary(tiny, volume_changes=changes)])).text
    assert "[\N{MINUS SIGN}0.500, +0.250], limits \N{MINUS SIGN}2.000 to +1.500" in text


def test_of_many_structures_the_three_that_move_most_are_shown(tiny):
    first = tiny.summary.volume_changes[0]
    moved = {"1": 0.1, "2": -5.0, "3": 2.0, "4": -3.0}
    changes = [first.model_copy(update={"structure": k, "bias_ml": bias}) for k, bias in moved.items()]
    section = volumes.build([vary(tiny, volume_changes=changes, showcase=None, probes=[], corruptions=[])])
    assert "Shown: the 3 of 4 structures that move most." in section.lead


def test_audits_of_earlier_versions_have_no_such_section(tiny):
    assert volumes.build([vary(tiny, volume_changes=[])]) is None
