"""Which cases are audited, and what is said of why."""

from __future__ import annotations

from pathlib import Path

import pytest

from imaseg.auditing.inputs.source import choose, held_out_missing, reason_for
from imaseg.data import Case, CaseSet
from imaseg.errors import InputError
from imaseg.models.segmentation import ModelCard


def cohort(*names, **split):
    cases = tuple(Case(name, (Path(f"{name}.nii.gz"),), None) for name in names)
    return CaseSet(Path("data"), "Livers", (), cases, {0: "background", 1: "liver"}, split=split)


def card(train=(), val=()):
    labels = {0: "background", 1: "liver"}
    return ModelCard(
        name="net", network={}, labels=labels, in_channels=1, spatial_dims=3, train_ids=[*train], val_ids=[*val]
    )


@pytest.mark.parametrize(
    ("cases", "model", "chosen", "said"),
    [
        (cohort("a", "b", "c"), card("a", "b"), ["b"], "Audited are the cases that net held out of its training"),
        (cohort("a", "b", val=["b"]), card("a"), ["b"], "Audited is the val split of Livers, as its split.json says."),
        (cohort("a", "b"), card("a"), ["b"], "Audited are the cases that net does not list as training cases."),
        (
            cohort("a", "b"),
            card(),
            ["a", "b"],
            "Livers has no split.json, and the model does not say which it was trained on: no case is known to be held "
            "out. All 2 cases are audited; `--cases` names others, `imaseg prepare --split` makes a split.",
        ),
        (cohort("a", "b"), card(["a", "b"]), ["a", "b"], "Livers has no split.json: no case is known to be held out."),
    ],
)
def test_it_says_which_cases_and_by_whose_word(cases, model, chosen, said):
    taken, selection = choose(cases, model, None)
    assert taken.ids == chosen
    assert said in reason_for(cases, model, selection)
    assert not held_out_missing(cases, model)


@pytest.mark.parametrize("split", [{}, {"val": ["b"]}])
@pytest.mark.parametrize("wanted", [None, "all", "a"])
def test_held_out_cases_that_are_not_among_the_data_are_warned_of(split, wanted):
    cases, model = cohort("a", "b", **split), card(["x"], ["y", "z"])
    assert held_out_missing(cases, model)
    said = reason_for(cases, model, choose(cases, model, wanted)[1])
    assert said.startswith("Warning: none of the cases that net held out (2: y, ...) is among these data (a, ...)")


def many(**split):
    return cohort(*(f"c{number:02}" for number in range(26)), **split)


def test_one_case_in_so_many_of_those_held_out_is_taken_evenly():
    held = [f"c{number:02}" for number in range(2, 26)]
    taken, selection = choose(many(val=held), card(), "every:12")
    assert (taken.ids, selection) == (["c02", "c14"], "val, 1 in 12")
    said = reason_for(many(val=held), card(), selection)
    assert said.endswith("Of these one in 12 is taken, in the order of the data.")
    taken, selection = choose(many(), card(), "every:10")
    assert (taken.ids, selection) == (["c00", "c10", "c20"], "all, 1 in 10")
    assert "Of all 26 cases one in 10 is audited" in reason_for(many(), card(), selection)
    assert choose(many(), card(), "every:1")[0].ids == many().ids
    assert choose(many(), card(), "every:99")[0].ids == ["c00"]
    taken, selection = choose(many(), card(), "every:10+3")
    assert taken.ids == many().ids[3::10]
    assert selection == "all, 1 in 10 after the first 3"
    assert "Of all 26 cases one in 10 after the first 3 is audited" in reason_for(many(), card(), selection)
    with pytest.raises(InputError, match="at least one case"):
        choose(many(), card(), "every:10+99")


@pytest.mark.parametrize(
    "wanted", ["every:", "every:0", "every:-2", "every:x", "every:1.5", "every:2+", "every:2+x", "every:2+-1"]
)
def test_a_share_that_is_none_is_refused(wanted):
    with pytest.raises(InputError, match="every:N must name a whole number from 1 on, got 'every:"):
        choose(many(), card(), wanted)


def test_ids_may_stand_in_a_file_one_a_line(tmp_path):
    (tmp_path / "ids.txt").write_text("c03\n\n  c01 \r\nc03\n")
    taken, selection = choose(many(), card(), f"@{tmp_path / 'ids.txt'}")
    assert (taken.ids, selection) == (["c03", "c01"], "chosen")
    (tmp_path / "ids.txt").write_text("\n")
    with pytest.raises(InputError, match="must hold the id of a case in each line, got none"):
        choose(many(), card(), f"@{tmp_path / 'ids.txt'}")
    with pytest.raises(InputError, match=r"no\.txt must be a readable text file"):
        choose(many(), card(), f"@{tmp_path / 'no.txt'}")


def test_a_case_may_be_called_like_a_share_or_a_file():
    assert choose(cohort("every:2", "@a", "b"), card(), "every:2")[0].ids == ["every:2"]
    assert choose(cohort("every:2", "@a", "b"), card(), "@a")[0].ids == ["@a"]


def test_an_id_that_is_none_is_answered_with_the_nearest_one_and_what_ids_are():
    cases = cohort(*(f"SC-N-{number:02}-0060.dcm" for number in range(40)))
    told = r"got 'SC-N-07-0060'\. Did you mean 'SC-N-07-0060\.dcm'\? An id is the name of the image file without"
    with pytest.raises(InputError, match=told):
        choose(cases, card(), "SC-N-07-0060")
