"""A `prepare.json` is computed with, so it is checked as it is read."""

from __future__ import annotations

import json
import shutil

import pytest

from imaseg import InputError, load_cases
from imaseg.data.inverse.native_file import invert_file

STEPS = {"orient": 0, "resample": 1, "crop": 2, "normalise": 3}


@pytest.fixture
def folder(prepared_phantom, tmp_path):
    return shutil.copytree(prepared_phantom, tmp_path / "prepared")


def _changed(folder, place, value):
    path = folder / "prepare.json"
    content = part = json.loads(path.read_text())
    for key in place[:-1]:
        part = part[key]
    assert place[-1] in part if isinstance(part, dict) else len(part) > place[-1]
    part[place[-1]] = value
    path.write_text(json.dumps(content))


def test_what_prepare_wrote_is_taken_as_it_is(folder):
    content = json.loads((folder / "prepare.json").read_text())
    assert {step["name"] for step in content["cases"][0]["steps"]} == {*STEPS}
    assert load_cases(folder).prepared == content


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (["cases"], {}, "cases must be valid"),
        (["cases", 0], "x", "cases.0 must be valid, got 'x': input should be a valid dictionary."),
        (["cases", 0, "id"], None, "id must be valid"),
        (["cases", 0, "steps", 1], "", "steps.1 must be valid"),
        (["cases", 0, "steps", 1, "name"], "resize", "steps.1 must be valid"),
        (["cases", 0, "steps", 0, "from"], "RAR", "from must be valid"),
        (["cases", 0, "steps", 1, "spacing_to"], [1, 0, 1], "spacing_to.1 must be valid"),
        (["cases", 0, "steps", 1, "spacing_to"], [1, float("nan"), 1], "spacing_to.1 must be valid"),
        (["cases", 0, "steps", 1, "shape_from"], [1, 2**40, 1], "shape_from.1 must be valid"),
        (["cases", 0, "steps", 2, "start"], [0, 0], "start.2 must be given"),
        (["cases", 0, "steps", 3, "std"], None, "must have the numbers mean and std"),
        (["cases", 0, "steps", 3, "method"], "range", "must have the numbers lowest and highest"),
        (["cases", 0, "native_affine", 0, 0], float("inf"), "native_affine.0.0 must be valid"),
        (["fingerprint", "spacing"], None, "fingerprint.spacing must be valid"),
        (["recipe"], [], "recipe must be valid"),
    ],
)
def test_what_cannot_be_computed_with_is_refused(folder, place, value, message):
    _changed(folder, place, value)
    with pytest.raises(InputError, match=rf"prepare\.json.*{message}"):
        load_cases(folder)
    with pytest.raises(InputError, match=rf"prepare\.json.*{message}"):
        invert_file(folder / "labelsTr" / "phantom_001.nii.gz", folder, "phantom_001", folder / "out.nii.gz")


def test_a_bias_field_has_all_its_nodes(folder):
    step = {"name": "n4", "channel": 0, "nodes_shape": [2, 2, 2], "log_bias_nodes": [0.0] * 7}
    _changed(folder, ["cases", 0, "steps", 1], step)
    with pytest.raises(InputError, match="n4 must have 8 log_bias_nodes, got 7"):
        load_cases(folder)
