"""`imaseg prepare --split`: a split by patient, and how it says who the patients are."""

from __future__ import annotations

import json
import sys

import pytest

from imaseg.cli.main import run
from imaseg.data.layouts.load import load_cases

CASES = [f"{patient}_{visit}" for patient in ("anna", "ben", "carl", "dora", "emil", "fay") for visit in (1, 2)]


@pytest.fixture
def source(tmp_path, save, ball, picture):
    for i, name in enumerate(CASES):
        save(tmp_path / "raw" / "images" / f"{name}.nii.gz", picture(ball(), i))
        save(tmp_path / "raw" / "labels" / f"{name}.nii.gz", ball())
    return tmp_path / "raw"


@pytest.fixture
def prepare(source, monkeypatch, capsys):
    """Run the command; returns exit code, what it printed, and the folder."""

    def call(*options, out="out"):
        folder = source.parent / out
        monkeypatch.setattr(sys, "argv", ["imaseg", "prepare", str(source), str(folder), *options])
        with pytest.raises(SystemExit) as stop:
            run()
        printed = capsys.readouterr()
        return stop.value.code, printed.out + printed.err, folder

    return call


def patients(cases):
    return {case.partition("_")[0] for case in cases}


def test_cases_of_a_patient_stay_together_by_a_pattern(prepare):
    code, told, out = prepare("--split", "0.67", "--patients", "^[a-z]+")
    split = json.loads((out / "split.json").read_text())
    assert code == 0
    assert sorted(split["train"] + split["val"]) == sorted(CASES)
    assert not patients(split["train"]) & patients(split["val"])
    assert {case.id: case.patient for case in load_cases(out)} == {name: name.partition("_")[0] for name in CASES}
    assert len(patients(split["val"])) == 2
    remark = "8 cases of 4 patients to train on, 4 of 2 held out; cases of one patient stay together."
    assert remark in told
    assert any(remark in text for text in json.loads((out / "prepare.json").read_text())["remarks"])
    assert load_cases(out).split == split


def test_without_patients_it_says_that_each_case_counts_as_one(prepare):
    _, told, _ = prepare("--split", "0.5", "--seed", "4")
    assert "(seed 4): 6 cases of 6 patients to train on, 6 of 6 held out; nothing says which cases are of one" in told


def test_all_folds_are_written_and_one_is_chosen(prepare):
    _, told, out = prepare("--split", "3-fold:1", "--patients", "^[a-z]+")
    folds = json.loads((out / "splits_final.json").read_text())
    assert len(folds) == 3
    assert json.loads((out / "split.json").read_text()) == folds[1]
    assert "split.json is fold 1; splits_final.json holds all 3." in told


def test_patients_come_from_a_table(prepare, source):
    table = source.parent / "patients.csv"
    table.write_text("case,patient\n" + "".join(f"{name},{i // 4}\n" for i, name in enumerate(CASES)))
    _, _, out = prepare("--split", "0.67", "--patients", str(table))
    held = json.loads((out / "split.json").read_text())["val"]
    assert len({CASES.index(name) // 4 for name in held}) == 1
    assert len(held) == 4
    table.write_text("case,patient\nanna_1,x\n")
    code, told, _ = prepare("--split", "0.67", "--patients", str(table), out="other")
    assert code == 2
    assert "patients must name the patient of each case, got none for anna_2, ben_1, ben_2 (11 in all)" in told


def test_a_pattern_that_finds_some_patients_only_is_refused(prepare):
    code, told, _ = prepare("--split", "0.5", "--patients", "^[a-e].*_")
    assert code == 2
    assert "the patient of each case must be known for a split, got none for fay_1, fay_2 (2 of 12 cases)" in told


def test_cases_set_aside_are_in_no_part(prepare, source):
    (source / "labels" / "ben_1.nii.gz").write_bytes(b"junk")
    code, _, out = prepare("--split", "0.5")
    split = json.loads((out / "split.json").read_text())
    assert code == 1
    assert sorted(split["train"] + split["val"]) == sorted({*CASES} - {"ben_1"})


def test_a_split_of_the_source_is_not_replaced(prepare, source):
    (source / "split.json").write_text(json.dumps({"train": CASES[:6], "val": CASES[6:]}))
    code, told, _ = prepare("--split", "0.5")
    assert code == 2
    assert "must have no split of its own" in told or "must have no split to be split" in told


def test_another_split_is_no_continuation(prepare):
    assert prepare("--split", "0.5")[0] == 0
    assert prepare("--split", "0.5")[0] == 0
    code, told, _ = prepare("--split", "0.5", "--seed", "1")
    assert code == 2
    assert "begun from this source by this recipe and split" in told


def test_a_cohort_without_a_split_makes_the_same_one_each_time(source):
    cohort = load_cases(source)
    with pytest.warns(UserWarning, match="has no split.json: 0.8 of its patients are taken for train"):
        train, val = cohort.part("train"), cohort.part("val")
    assert sorted(train.ids + val.ids) == sorted(CASES)
    assert (len(train), len(val)) == (10, 2)
