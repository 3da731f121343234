from __future__ import annotations

import json
import subprocess
import sys

import pytest

from imaseg.data.cases import Case
from imaseg.data.layouts.load import load_cases
from imaseg.errors import InputError


def test_msd_folder_is_listed_in_the_order_of_its_json(raw):
    cohort = load_cases(raw)
    assert cohort.ids == [f"case_{i}" for i in range(6)]
    assert cohort.labels == {0: "background", 1: "front", 2: "back"}
    assert (cohort.name, cohort.modality, len(cohort)) == ("Balls", ("MRI",), 6)
    assert cohort.split["val"] == ["case_4", "case_5"]
    assert cohort[0].label == raw / "labelsTr" / "case_0.nii.gz"
    assert cohort.prepared is None


def test_select_keeps_the_order_asked_for_and_the_labels(raw):
    chosen = load_cases(raw).select(["case_3", "case_1"])
    assert chosen.ids == ["case_3", "case_1"]
    assert chosen.labels == {0: "background", 1: "front", 2: "back"}


def test_select_names_known_cases_when_one_is_unknown(raw):
    with pytest.raises(InputError, match=r"must be one of the 6 in .*case_0, case_1.* got 'nobody'"):
        load_cases(raw).select(["nobody"])


def test_labels_are_read_from_the_files_when_nobody_declares_them(raw):
    (raw / "dataset.json").unlink()
    cohort = load_cases(raw)
    assert cohort.declared_labels is None
    assert cohort.labels == {0: "background", 1: "1", 2: "2"}


def test_missing_folder_and_file_as_folder(tmp_path, raw):
    with pytest.raises(InputError, match=r"must be a folder .* got nothing there"):
        load_cases(tmp_path / "nowhere")
    with pytest.raises(InputError, match="got a file"):
        load_cases(raw / "dataset.json")


def test_empty_folders_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"must hold dataset.json or imagesTr/"):
        load_cases(tmp_path)
    (tmp_path / "imagesTr").mkdir()
    with pytest.raises(InputError, match=r"at least one case \(.nii or .nii.gz\), got none"):
        load_cases(tmp_path)


@pytest.mark.parametrize("folder", ["imagesTr", "labelsTr"])
def test_a_case_that_misses_a_file_is_left_out_with_a_warning(raw, folder):
    (raw / folder / "case_2.nii.gz").unlink()
    with pytest.warns(UserWarning, match=rf"{folder}/case_2.nii.gz must exist \(case case_2\).* left out"):
        cohort = load_cases(raw)
    assert cohort.ids == [f"case_{i}" for i in (0, 1, 3, 4, 5)]
    assert cohort.split == {"train": ["case_0", "case_1", "case_3"], "val": ["case_4", "case_5"]}
    assert len(load_cases(raw, missing_ok=True)) == 6


def test_a_folder_in_which_every_case_misses_a_file_is_refused(raw):
    for path in (raw / "labelsTr").iterdir():
        path.unlink()
    with pytest.raises(InputError, match=r"labelsTr/case_0.nii.gz must exist \(case case_0\)"):
        load_cases(raw)


def test_a_prepared_folder_that_misses_a_file_is_refused(raw):
    (raw / "prepare.json").write_text(json.dumps({"recipe": {}, "fingerprint": None, "cases": []}))
    (raw / "labelsTr" / "case_2.nii.gz").unlink()
    with pytest.raises(InputError, match=r"labelsTr/case_2.nii.gz must exist \(case case_2\)"):
        load_cases(raw)


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "must be valid JSON, got .*line 1"), ("[]", "must hold a JSON object"), ("\xff", "must be")],
)
def test_malformed_json_is_named(raw, text, message):
    (raw / "dataset.json").write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=f"dataset.json {message}"):
        load_cases(raw)


def test_splits_must_be_lists_of_ids_and_disjoint(raw):
    (raw / "split.json").write_text(json.dumps({"train": "case_0"}))
    with pytest.raises(InputError, match=r"must map split names to lists .* got str for 'train'"):
        load_cases(raw)
    (raw / "split.json").write_text(json.dumps({"train": ["case_0"], "val": ["case_0"]}))
    with pytest.raises(InputError, match="every case in one split, got case_0 in train and in val"):
        load_cases(raw)


def test_listing_cases_loads_no_imaging_library():
    code = (
        "import sys; before = set(sys.modules); import imaseg.data.cases;"
        "heavy = {'nibabel', 'SimpleITK', 'monai', 'pydantic', 'scipy'} & (set(sys.modules) - before);"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["../../over", "/tmp/over", "a/b", "a\\b", "", ".", "..", ".hidden", "a\0b", "\ud800"])
def test_an_id_that_leads_elsewhere_is_refused(raw, tmp_path, name):
    entry = {"images": ["imagesTr/case_0.nii.gz"], "label": "labelsTr/case_0.nii.gz"}
    content = {"channel_names": {"0": "MRI"}, "labels": {"background": 0, "a": 1, "b": 2}, "file_ending": ".nii.gz"}
    (raw / "dataset.json").write_text(json.dumps(content | {"dataset": {"first": entry, name: entry}}))
    with pytest.raises(InputError, match=r"case ids must name files: .* for .*case_0.nii.gz. Rename the case"):
        load_cases(raw)


@pytest.mark.parametrize("name", ["a.b", "é", "=1", "two words", "a\udcff"])
def test_ids_that_name_files_are_taken(name):
    assert Case(name, (), None).id == name
