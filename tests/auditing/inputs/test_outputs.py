"""Activations that only real cases show, or that real cases contradict."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

from imaseg import audit
from imaseg.auditing.inputs.examine import examine_data, examine_model, judge_outputs
from imaseg.auditing.inputs.subject import Subject
from imaseg.auditing.plan import Plan
from imaseg.data import load_cases, write_nifti
from imaseg.models.adapted import adapt
from imaseg.models.card import Card
from tests.models.outputs.test_ending import ENDS


class Threshold(nn.Module):
    """Foreground above a level, with logits of any shape in between."""

    def __init__(self, slope, level, end, squeeze=None):
        super().__init__()
        self.layer, self.end, self.squeeze = nn.Conv3d(1, 1, 1), ENDS[end], squeeze
        with torch.no_grad():
            self.layer.weight.fill_(slope)
            self.layer.bias.fill_(-slope * level)

    def forward(self, image):
        z = self.layer(image)
        return self.end(z if self.squeeze is None else self.squeeze(z))


def _adapt(network, **card):
    return adapt(network, Card(labels={1: "bone"}, recipe={}, **card), kind="test", name="net")


@pytest.fixture
def cohort(tmp_path):
    """CT as scanners store it, about 5000 grey values; bone is what lies above 5000."""
    for case in ("a", "b"):
        image = 5000 + 40 * np.random.default_rng(ord(case)).standard_normal((12, 10, 8))
        for folder, voxels, kind in (("imagesTr", image, np.float32), ("labelsTr", image > 5000, np.uint8)):
            write_nifti(tmp_path / folder / f"{case}.nii.gz", voxels, np.eye(4), dtype=kind)
    content = {"labels": {"background": 0, "bone": 1}, "channel_names": {"0": "CT"}}
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    return tmp_path


@pytest.mark.parametrize("end", ["sigmoid", "log-sigmoid"])
@pytest.mark.parametrize("roi_size", [None, [8, 8, 8]])
def test_what_noise_leaves_open_a_real_case_settles(cohort, end, roi_size):
    def model():
        return _adapt(Threshold(0.1, 5000.0, end), roi_size=roi_size)

    subject = Subject.of(model(), cohort, select="all", device=None)
    said = "sigmoid" if end == "sigmoid" else "none"  # far below 0 noise makes a log-sigmoid look like any logits
    if end == "log-sigmoid":
        assert any("called logits" in note and "after a log-sigmoid" in note for note in subject.notes)
    else:
        assert (subject.model.ending.activation, subject.model.ending.by) == (said, "case")
        assert subject.notes == ()
    told, problems = model(), examine_data(model(), cohort)["problems"]
    examined = examine_data(told, cohort)
    if end == "sigmoid":
        assert [case["dice"]["bone"] for case in examined["tried"]] == [1.0, 1.0]
        assert problems == []
        assert told.ending.by == "case"
    else:
        assert any("write `activation:`" in text for text in problems)


@pytest.mark.parametrize(
    ("end", "said", "squeeze", "words"),
    [
        ("sigmoid", "none", None, "called logits"),
        ("none", "sigmoid", None, "called sigmoid probabilities"),
        ("none", "auto", lambda z: 0.5 + 0.4 * (z / 100).tanh().where(z.abs() < 50, z), "called logits"),
    ],
)
def test_doctor_names_and_an_audit_warns_of_outputs_that_are_not_what_they_are_called(
    cohort, end, said, squeeze, words
):
    def model():
        return _adapt(Threshold(0.1, 5000.0, end, squeeze), activation=said)

    problems = examine_data(model(), cohort)["problems"]
    assert any(words in text and "On a real case" in text for text in problems)
    heard = []
    plan = Plan.model_validate({"name": "one", "probes": [{"attack": "fgsm", "eps": [0.1]}], "validity": None})
    done = audit(model(), load_cases(cohort), plan, cohort / "out", announce=heard.append)
    assert any(text.startswith("Warning: On a real case") and words in text for text in heard)
    assert any(words in note for note in done.audit.summary.data.notes)


def test_doctor_forgets_what_the_data_have_settled(cohort, tmp_path, monkeypatch):
    (tmp_path / "dim.py").write_text(
        "from tests.auditing.inputs.test_outputs import Threshold, _adapt\n"
        "def make():\n    return _adapt(Threshold(0.1, 5000.0, 'sigmoid'))\n"
    )
    monkeypatch.chdir(tmp_path)
    model, facts = examine_model("python:dim:make", trust=True)
    assert any("neither logits nor probabilities" in text for text in facts["problems"])
    examine_data(model, cohort)
    judge_outputs(model, facts)
    assert facts["activation"] == {"found": "sigmoid", "said": "auto", "undone": True, "by": "case"}
    assert not any("neither" in text for text in facts["problems"])


def test_a_sound_model_is_not_warned_of(cohort):
    subject = Subject.of(_adapt(Threshold(0.1, 5000.0, "none")), cohort, select="all", device=None)
    assert subject.notes == ()
    assert examine_data(_adapt(Threshold(0.1, 5000.0, "none")), cohort)["problems"] == []
