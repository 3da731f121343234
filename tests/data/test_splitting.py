from __future__ import annotations

import os

import pytest

from imaseg.data.splitting import Splitting, read_patients
from imaseg.errors import InputError

PATIENTS = {f"case_{i:02d}": f"patient_{i // 3}" for i in range(30)}
"""Ten patients of three cases."""


def people(cases):
    return {PATIENTS[case] for case in cases}


@pytest.mark.parametrize(("text", "held"), [("0.8", 2), ("0.5", 5), ("0.99", 1), ("0.01", 9)])
def test_a_share_of_the_patients_is_trained_on_and_none_is_in_both_parts(text, held):
    (parts,) = Splitting(text).folds(PATIENTS)
    assert sorted(parts["train"] + parts["val"]) == sorted(PATIENTS)
    assert not people(parts["train"]) & people(parts["val"])
    assert len(people(parts["val"])) == held
    assert len(parts["val"]) == 3 * held


@pytest.mark.parametrize("count", [2, 3, 5, 10])
def test_folds_hold_out_every_patient_once(count):
    folds = Splitting(f"{count}-fold", seed=3).folds(PATIENTS)
    assert sorted(case for parts in folds for case in parts["val"]) == sorted(PATIENTS)
    for parts in folds:
        assert sorted(parts["train"] + parts["val"]) == sorted(PATIENTS)
        assert not people(parts["train"]) & people(parts["val"])
    sizes = [len(people(parts["val"])) for parts in folds]
    assert max(sizes) - min(sizes) <= 1


def test_the_seed_decides_and_the_order_of_cases_does_not():
    backwards = dict(reversed(PATIENTS.items()))
    one, same = (Splitting("0.8", 1).folds(cases)[0] for cases in (PATIENTS, backwards))
    assert {part: set(cases) for part, cases in one.items()} == {part: set(cases) for part, cases in same.items()}
    assert len({tuple(Splitting("0.8", seed).folds(PATIENTS)[0]["val"]) for seed in range(5)}) > 1


def test_a_fold_is_chosen():
    assert [Splitting(text).chosen for text in ("0.8", "5-fold", "5-fold:2")] == [0, 0, 2]


@pytest.mark.parametrize("text", ["1", "0", "80", "-0.5", "half", "1-fold", "5-fold:5", "nan", 5000 * "9" + "-fold"])
def test_what_is_no_split_is_refused(text):
    with pytest.raises(InputError, match=r"split must be a share between 0 and 1 \(0.8\), 5-fold"):
        Splitting(text).folds(PATIENTS)


def test_too_few_patients_are_refused():
    with pytest.raises(InputError, match="split 5-fold needs at least 5 patients, got 2 in 3 cases"):
        Splitting("5-fold").folds({"a": "x", "b": "x", "c": "y"})


def test_patients_are_read_from_a_table(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("\ufeffage,case,patient\n7,a,x\n8,b,x\n")
    assert read_patients(path) == {"a": "x", "b": "x"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,patient\na,x\n", "must have the columns case and patient, got id, patient"),
        ("case,patient\na,x\na,y\n", "must name one patient for each case, got y for a"),
        ("case,patient\na,\n", "must name one patient for each case, got none for a"),
    ],
)
def test_a_table_that_does_not_tell_is_refused(tmp_path, text, message):
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        read_patients(tmp_path / "p.csv")
    with pytest.raises(InputError, match="must be a readable CSV file"):
        read_patients(tmp_path / "gone.csv")


def test_a_table_that_never_ends_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "p.csv")
    with pytest.raises(InputError, match="got no regular file"):
        read_patients(tmp_path / "p.csv")
