from __future__ import annotations

import csv

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from imaseg.auditing.margin_record import MarginRecord, Row, Structure
from imaseg.auditing.margin_results import quartiles, summarise, write_margins


def rows(values, eps):
    return [Row("l2", "rms", "whole", e, min(v, e), v > e) for v, e in zip(values, eps, strict=True)]


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
    row = Row("l2", "rms", "whole", 1.0, margin, **more)
    return MarginRecord(case, {"whole": Structure(0.9, 2.5)}, [row], span=5.0)


def test_counts_and_share_of_the_range():
    (entry,) = summarise(
        [
            record("a", 0.1, confirmed=True),
            record("b", 0.0),
            record("c", 1.0, censored=True, confirmed=False),
            record("d", 0.3, confirmed=True),
            record("e", None),
            record("f", 0.3, confirmed=True),
        ]
    )
    counts = {"n": 5, "absent": 1, "censored": 1, "clean_failures": 1, "held": 3, "tested": 4}
    assert counts.items() <= entry.items()
    assert entry["median"] == pytest.approx(0.3)
    assert entry["median_share_of_range"] == pytest.approx(0.06)
    low, high = entry["median_ci95"]
    assert 0 <= low <= 0.3 <= high <= 1
    assert summarise([record("a", 0.1)])[0]["median_ci95"] is None


def test_the_table_keeps_its_columns_and_leaves_the_unknown_empty(tmp_path):
    write_margins(tmp_path / "m.csv", [record("a", None), record("b", 0.1, confirmed=True)])
    with (tmp_path / "m.csv").open() as file:
        first, second = csv.DictReader(file)
    assert list(first) == [
        "case", "perturbation", "unit", "structure", "margin", "censored", "confirmed", "clean_dice", "volume_ml",
        "forward_calls", "backward_calls",
    ]  # fmt: skip
    assert (first["margin"], first["confirmed"]) == ("", "")
    assert (second["margin"], second["confirmed"], second["clean_dice"]) == ("0.1", "True", "0.9")
