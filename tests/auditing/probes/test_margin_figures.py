"""Quartiles with censored margins, counts, and the table, on made-up cases."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imaseg.auditing.probes import MarginProbe
from imaseg.auditing.probes.margin import quartiles
from imaseg.results import CaseRecord
from imaseg.results.case import CaseScale
from imaseg.results.margin import CaseMargin, MarginRow

PROBE = MarginProbe(name="margin-l2", eps=1.0, unit="rms", write="csv")


def rows(values, eps):
    return [
        CaseMargin(
            case="a", eps=e, margin=min(v, e), censored=v > e, confirmed=None, clean_dice=0.9, volume_ml=1.0,
            forward_calls=0, backward_calls=0,
        )
        for v, e in zip(values, eps, strict=True)
    ]  # fmt: skip


cohorts = st.integers(1, 9).flatmap(
    lambda n: st.tuples(
        st.lists(st.floats(0.015625, 1, width=32), min_size=n, max_size=n, unique=True),
        st.lists(st.sampled_from([0.3, 0.6, 0.9]), min_size=n, max_size=n),
    )
)


@settings(deadline=None, max_examples=200)
@given(cohorts)
def test_quartiles_are_those_of_the_true_margins_or_below_them_and_say_which(cohort):
    true, eps = cohort
    found = quartiles(rows(true, eps))
    for name, share in (("q25", 0.25), ("median", 0.5), ("q75", 0.75)):
        truth = np.quantile(true, share)
        assert found[name] <= truth + 1e-9
        if not found[f"{name}_at_least"]:
            assert found[name] == pytest.approx(truth)


def test_quartiles_of_cases_that_all_broke_are_exact():
    found = quartiles(rows([0.1, 0.2, 0.4], [1.0, 1.0, 1.0]))
    assert found == {
        "q25": pytest.approx(0.15), "q25_at_least": False, "median": 0.2, "median_at_least": False,
        "q75": pytest.approx(0.3), "q75_at_least": False,
    }  # fmt: skip


def test_nothing_measured_is_none():
    assert quartiles([])["median"] is None


def record(case, margin, **more):
    return CaseRecord(
        case=case,
        clean={"1": {"dice": 0.9}, "foreground_mean": {"dice": 0.9}},
        volumes={"1": 2.5},
        scale=CaseScale(spacing=[1.0, 1.0], std=1.0, span=5.0, native=None),
        rows=[MarginRow(probe="margin-l2", structure=None, eps=1.0, margin=margin, **more)],
    )


def entry_of(*records):
    (entry,) = PROBE.summarise(records, {1: "Front"}, 0)
    return entry


def test_counts_and_share_of_the_range():
    entry = entry_of(
        record("a", 0.1, confirmed=True),
        record("b", 0.0),
        record("c", 1.0, censored=True, confirmed=False),
        record("d", 0.3, confirmed=True),
        record("e", None),
        record("f", 0.3, confirmed=True),
        *(record(case, 0.3) for case in "gh"),
    )
    counts = (entry.n, entry.absent, entry.censored, entry.clean_failures, entry.held, entry.tested)
    assert counts == (7, 1, 1, 1, 3, 4)
    assert entry.median == pytest.approx(0.3)
    assert entry.median_share_of_range == pytest.approx(0.06)
    assert entry.median_ci95 == [0.0, 1.0], "of seven values the extremes"
    assert entry_of(record("a", 0.1)).median_ci95 is None


def test_a_share_of_the_range_is_for_intensities():
    other = PROBE.model_copy(update={"perturbation": "gamma", "unit": None})
    (entry,) = other.summarise([record("a", 0.1)], {1: "Front"}, 0)
    assert entry.median_share_of_range is None


def test_the_table_keeps_its_columns_and_leaves_the_unknown_empty():
    (lines,) = PROBE.tables([record("a", None), record("b", 0.1, confirmed=True)], {1: "Front"}).values()
    first, second = lines
    assert list(first) == [
        "case", "probe", "perturbation", "unit", "structure", "margin", "censored", "confirmed", "clean_dice",
        "volume_ml", "forward_calls", "backward_calls",
    ]  # fmt: skip
    assert (first["margin"], first["confirmed"]) == (None, None)
    assert (second["margin"], second["confirmed"], second["clean_dice"], second["volume_ml"]) == (0.1, True, 0.9, 2.5)
    assert PROBE.model_copy(update={"write": None}).tables([record("a", 0.1)], {1: "Front"}) == {}
