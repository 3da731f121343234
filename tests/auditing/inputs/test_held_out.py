"""Which cases are audited, and what is said of why."""

from __future__ import annotations

from pathlib import Path

import pytest

from imaseg.auditing.inputs.source import choose, held_out_missing, reason_for
from imaseg.data import Case, CaseSet
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
