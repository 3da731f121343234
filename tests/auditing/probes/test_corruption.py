"""Corruptions in an audit: before normalisation, scored against the moved label, counted, summed up, resumed."""

from __future__ import annotations

import csv
import json

import pytest
import torch

from imaseg import InputError, audit, load_cases, load_model
from imaseg.auditing import Plan, load_plan
from imaseg.auditing.engine.cost import costs
from imaseg.auditing.inputs.source import CaseSource
from imaseg.auditing.probes import CorruptionProbe
from imaseg.corruptions import Corruption, GaussianNoise
from imaseg.scores import hard_dice

NAMES = ["gaussian-noise", "gamma", "slice-thickness", "translation", "missing-channel"]
CONTENT = {
    "name": "test",
    "probes": [{"attack": "uniform-noise", "unit": "rms", "eps": [0.1]}],
    "corruptions": {"names": NAMES, "severities": [1, 5]},
    "showcase": {"attack": "uniform-noise", "eps": 0.1},
}
PLAN = Plan.model_validate(CONTENT)


@pytest.fixture(scope="module")
def raw(tiny_run, raw_phantom, tmp_path_factory):
    return audit(tiny_run, raw_phantom, PLAN, tmp_path_factory.mktemp("audits") / "raw")


@pytest.fixture(scope="module")
def prepared(tiny_run, prepared_phantom, tmp_path_factory):
    return audit(tiny_run, prepared_phantom, PLAN, tmp_path_factory.mktemp("audits") / "prepared")


def _entry(result, name, severity):
    (entry,) = [e for e in result.summary["corruptions"] if (e["corruption"], e["severity"]) == (name, severity)]
    return entry


def test_the_summary_has_one_entry_per_corruption_and_severity(raw):
    found = [(e["corruption"], e["severity"]) for e in raw.summary["corruptions"]]
    assert found == [(name, severity) for name in NAMES[:4] for severity in (1, 5)]
    assert raw.summary["degradation"]["left_out"] == {"missing-channel": "it has one channel"}
    for entry in raw.summary["corruptions"]:
        assert entry["title"] == Corruption.known()[entry["corruption"]].title
        assert entry["n"] == len(entry["metric_per_case"]) == 2
        assert entry["change"]["min"] <= entry["change"]["median"] <= entry["change"]["max"]
        assert entry["before_normalisation"] is True
        assert entry["ci95"]["dice"] is None, "of two cases there is no interval"
        assert entry["mean"].keys() == {"1", "2"}
    assert _entry(raw, "gaussian-noise", 5)["change"]["median"] == pytest.approx(0.8, rel=0.02)
    assert _entry(raw, "translation", 1)["parameters"]["mm"] <= 1.0


def test_numbers_are_those_of_corrupting_preparing_and_predicting_by_hand(raw, tiny_run, raw_phantom):
    model, cases = load_model(tiny_run).eval(), load_cases(raw_phantom).select(["phantom_005", "phantom_006"])
    source, expected = CaseSource(cases, model.card), []
    for case in cases:
        native = source.open(case)
        corrupted = GaussianNoise(seed=0)(native, severity=5, modality=("MRI",))
        volume, _ = source.fit(corrupted.volume)
        assert abs(float(volume.image.mean())) < 1, "noise in native units, then z-scored"
        with torch.no_grad():
            logits = model(torch.from_numpy(volume.image)[None])
        expected.append(float(hard_dice(logits, torch.from_numpy(volume.label)[None])[0, 1:].mean()))
    entry = _entry(raw, "gaussian-noise", 5)
    dice = [row["metrics"]["foreground_mean"]["dice"] for row in entry["metric_per_case"]]
    assert dice == pytest.approx(expected, abs=1e-6)


def test_prepared_sets_say_that_there_was_no_raw_image(prepared):
    assert prepared.summary["corruptions"]
    assert not any(entry["before_normalisation"] for entry in prepared.summary["corruptions"])
    change = _entry(prepared, "gaussian-noise", 1)["change"]["median"]
    assert change == pytest.approx(0.05, rel=0.02)


def test_the_table_has_rows_and_the_passes_are_counted(raw):
    rows = list(csv.DictReader((raw.folder / "cases.csv").open()))
    noise = [
        float(row["value"])
        for row in rows
        if (row["probe"], row["eps"], row["class"], row["metric"])
        == ("gaussian-noise", "5.0", "foreground_mean", "dice")
    ]
    assert sum(noise) / 2 == pytest.approx(_entry(raw, "gaussian-noise", 5)["foreground_mean"]["dice"])
    record = json.loads((raw.folder / "cases" / "phantom_005.json").read_text())
    assert sum(row["kind"] == "corruption" for row in record["rows"]) == 8
    left_out = {row["corruption"]: row["reason"] for row in record["rows"] if row["kind"] == "corruption-left-out"}
    assert left_out == {"missing-channel": "it has one channel"}
    assert record["forward_calls"] == 1 + 2 + 1 + 8, "clean, noise at eps 0 and 0.1, its calibration, corruptions"
    assert record["backward_calls"] == 0
    (part,) = [part for part in costs(PLAN, 2) if part.name == "corruptions"]
    assert (part.forwards, part.scored, part.gradients) == (2 * len(NAMES), 2 * len(NAMES), 0)


def test_an_audit_with_corruptions_resumes_to_the_same(raw, tiny_run, raw_phantom):
    before = json.loads((raw.folder / "summary.json").read_text())
    (raw.folder / "cases" / "phantom_006.json").unlink()
    again = audit(tiny_run, raw_phantom, PLAN, raw.folder, resume=True)
    after = json.loads((again.folder / "summary.json").read_text())
    assert after.pop("cost").keys() == before.pop("cost").keys()
    assert after == before


def test_a_plan_without_corruptions_has_none(tiny_run, prepared_phantom, tmp_path):
    plain = PLAN.model_copy(update={"probes": PLAN.probes[:1]})
    result = audit(tiny_run, prepared_phantom, plain, tmp_path / "a", select=["phantom_005"])
    assert (result.summary["corruptions"], result.summary["degradation"]) == ([], None)


def _probe(**content):
    (probe,) = Plan.model_validate(CONTENT | content).of(CorruptionProbe)
    return probe


def test_shorthands_of_the_plan():
    for given, names in (("all", "all"), (["gamma", "motion"], ["gamma", "motion"]), ({"names": ["gamma"]}, ["gamma"])):
        probe = _probe(corruptions=given)
        assert probe.corruptions == names
        assert probe.severities == [1, 2, 3, 4, 5]
    every = _probe(corruptions="all")
    assert [c.name for c in every.build(3)] == list(Corruption.known())
    assert every.cost(2, 3).forwards == 5 * len(Corruption.known())
    assert {c.seed for c in every.build(3)} == {3}
    own = _probe(corruptions={"seed": 9, "severities": [3, 1, 3]})
    assert own.severities == [1, 3]
    assert {c.seed for c in own.build(3)} == {9}


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (["gama"], "corruption must be one of bias-field, .*, got 'gama'"),
        ({"severities": [0]}, "corruptions.severities.0 must be valid, got 0"),
        ({"severities": [6]}, "corruptions.severities.0 must be valid, got 6"),
        ({"severities": []}, r"corruptions.severities must be valid, got \[\]"),
        ([], r"corruptions.corruptions.* must be valid, got \[\]"),
        ({"strength": 1}, "got 'corruptions.strength'"),
    ],
)
def test_a_wrong_section_is_one_clear_line_before_anything_runs(given, text, tmp_path):
    path = tmp_path / "plan.yaml"
    path.write_text(json.dumps(CONTENT | {"corruptions": given}))
    with pytest.raises(InputError, match=text):
        load_plan(path)


def test_a_case_that_a_corruption_ruins_is_named(tiny_run, raw_phantom, tmp_path, monkeypatch):
    whole, calls = CaseSource.fit, []

    def fit(self, volume):
        calls.append(volume.id)
        if len(calls) > 2:  # the clean case, to try the plan and to audit
            msg = "image must vary."
            raise InputError(msg)
        return whole(self, volume)

    monkeypatch.setattr(CaseSource, "fit", fit)
    with pytest.raises(InputError, match="gaussian-noise at severity 1: image must vary"):
        audit(tiny_run, raw_phantom, PLAN, tmp_path / "a", select=["phantom_005"])


def test_what_is_done_to_prepared_images_is_not_called_done_before_normalisation(
    monkeypatch, tiny_run, raw_phantom, tmp_path
):
    monkeypatch.setattr(GaussianNoise, "after_normalisation", True)
    content = CONTENT | {"corruptions": {"names": ["gaussian-noise", "gamma"], "severities": [1]}}
    result = audit(tiny_run, raw_phantom, Plan.model_validate(content), tmp_path / "a", select=["phantom_005"])
    before = {entry["corruption"]: entry["before_normalisation"] for entry in result.summary["corruptions"]}
    assert before == {"gaussian-noise": False, "gamma": True}
