"""The table of margins: moving average over visits, counts, duplicates, new cases."""

from __future__ import annotations

import pytest

from imaseg import MarginTable


def test_each_broken_visit_moves_the_margin_by_the_smoothing():
    table = MarginTable(0.5, 4.0, smoothing=0.25)
    table.load_state_dict({"margins": {"a": 3.0}, "visits": {}, "broken": {}})
    table.record(["a", "a", "a"], [2.0, 2.0, 3.0], [True, True, False])
    table.end_epoch()
    one_by_one = 3.0
    for distance in (2.0, 2.0):
        one_by_one += 0.25 * (distance - one_by_one)
    assert table.margins["a"] == pytest.approx(one_by_one)


def test_the_order_of_visits_does_not_matter():
    tables = []
    distances = [0.1, 0.7, 1.3, 2.9]
    for order in (distances, distances[::-1]):
        table = MarginTable(0.5, 4.0)
        table.record(["a"] * 4, order, [True] * 4)
        table.end_epoch()
        tables.append(table.margins)
    assert tables[0] == tables[1]


def test_duplicates_in_a_batch_count_as_visits_and_new_cases_are_welcome():
    table = MarginTable(0.5, 4.0)
    table.record(["a", "a", "b"], [0.5, 0.2, 0.5], [False, True, False])
    table.end_epoch()
    table.record(["c", "a"], [0.5, 0.5], [False, False])
    assert table.look_up(["a", "c", "d"]).tolist() == [0.5, 0.5, 0.5]
    table.end_epoch()
    assert table.counts == {"a": (3, 1), "b": (1, 0), "c": (1, 0)}
    assert table.margins == {"a": 1.0, "b": 1.0, "c": 1.0}


def test_state_holds_all_of_it_in_the_middle_of_an_epoch():
    table, other = MarginTable(0.5, 4.0), MarginTable(0.5, 4.0)
    table.record(["a", "b"], [0.5, 0.3], [False, True])
    table.end_epoch()
    table.record(["a"], [0.4], [True])
    other.load_state_dict(table.state_dict())
    table.record(["a"], [0.9], [True])
    assert other.state_dict()["broken"] == {"a": [0.4]}
    other.record(["a"], [0.9], [True])
    for one in (table, other):
        one.end_epoch()
    assert table.state_dict() == other.state_dict()


def test_cases_that_failed_unperturbed_are_counted():
    table = MarginTable(0.5, 4.0)
    table.record(["a", "b", "c", "b"], [0.5, 0.0, 0.2, 0.3], [False, True, True, True])
    assert table.end_epoch()["failed_clean"] == pytest.approx(1 / 3)


def test_weights_are_powers_of_the_margins_and_average_to_one():
    table = MarginTable(0.5, 4.0)
    assert table.weights(["new"], 2.0).tolist() == [1.0]
    table.load_state_dict({"margins": {"a": 0.5, "b": 1.0, "c": 2.0}, "visits": {}, "broken": {}})
    weights = table.weights(["a", "b", "c"], 2.0)
    assert weights.mean() == pytest.approx(1.0)
    assert (weights / weights[0]).tolist() == pytest.approx([1.0, 1 / 4, 1 / 16])
    assert table.weights(["new"], 2.0)[0] == weights[0], "starts at one increment, as a does"


def test_visits_that_ended_short_of_the_margin_let_nothing_grow():
    table = MarginTable(0.5, 4.0)
    table.record(["a", "b", "b", "c"], [0.2] * 4, [False] * 3 + [True], [True, True, False, True])
    state = table.state_dict()
    table.end_epoch()
    assert table.margins == {"a": 0.5, "b": 1.0, "c": 0.5}  # c is broken: the margin cannot fall below an increment
    assert table.counts == {"a": (1, 0), "b": (2, 0), "c": (1, 1)}
    again = MarginTable(0.5, 4.0)
    again.load_state_dict(state)
    again.end_epoch()
    assert again.state_dict() == table.state_dict()


def test_margins_never_pass_the_ceiling():
    table = MarginTable(0.5, 1.25, smoothing=1.0)
    for expected in (1.0, 1.25, 1.25):
        table.record(["grown"], [0.0], [False])
        table.end_epoch()
        assert table.margins["grown"] == expected
    table.record(["broken"], [1.2500001], [True])  # a point on the sphere, up to rounding
    table.end_epoch()
    assert table.margins["broken"] == 1.25


def test_a_state_from_a_higher_ceiling_is_cut_to_this_one():
    table = MarginTable(0.5, 1.0)
    table.load_state_dict({"margins": {"a": 3.0, "b": 0.7}, "visits": {}, "broken": {}})
    assert table.margins == {"a": 1.0, "b": 0.7}


def test_margins_fall_to_the_floor_and_its_share_is_told():
    table = MarginTable(0.1, 1.0, smoothing=1.0, floor=0.02)
    for _ in range(2):
        table.record(["near", "far"], [0.0, 0.5], [True, True])
        summary = table.end_epoch()
    assert table.margins == {"near": 0.02, "far": 0.5}
    assert summary["at_floor"] == 0.5


@pytest.mark.parametrize("floor", [-0.1, 0.2])
def test_a_floor_outside_of_its_range_is_refused(floor):
    with pytest.raises(ValueError, match="floor must be in"):
        MarginTable(0.1, 1.0, floor=floor)
