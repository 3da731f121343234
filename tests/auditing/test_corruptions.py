"""Corruptions in an audit: before normalisation, scored against the moved label, counted, summed up, resumed."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch
from imaseg.auditing.case import CaseRecord
from imaseg.auditing.corruption_results import ALPHA, corruption_figures, degradation, degradation_line
from imaseg.auditing.cost import costs
from imaseg.auditing.source import CaseSource

from imaseg import InputError, audit, load_cases, load_model
from imaseg.auditing import Plan, load_plan
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
        assert entry["dice_ci95"] is None, "of two cases there is no interval"
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
    assert len(record["corruptions"]) == 8
    assert record["corruptions_left_out"] == {"missing-channel": "it has one channel"}
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
    plain = PLAN.model_copy(update={"corruptions": None})
    result = audit(tiny_run, prepared_phantom, plain, tmp_path / "a", select=["phantom_005"])
    assert not {"corruptions", "degradation"} & result.summary.keys()


def test_shorthands_of_the_plan():
    for given, names in (("all", "all"), (["gamma", "motion"], ["gamma", "motion"]), ({"names": ["gamma"]}, ["gamma"])):
        plan = Plan.model_validate(CONTENT | {"corruptions": given})
        assert plan.corruptions.names == names
        assert plan.corruptions.severities == ([1, 2, 3, 4, 5])
    every = Plan.model_validate(CONTENT | {"corruptions": "all", "seed": 3}).corruptions
    assert [c.name for c in every.build(3)] == list(Corruption.known())
    assert every.images == 5 * len(Corruption.known())
    assert {c.seed for c in every.build(3)} == {3}
    own = Plan.model_validate(CONTENT | {"corruptions": {"seed": 9, "severities": [3, 1, 3]}}).corruptions
    assert own.severities == [1, 3]
    assert {c.seed for c in own.build(3)} == {9}


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (["gama"], "corruption must be one of bias-field, .*, got 'gama'"),
        ({"severities": [0]}, "corruptions.severities.0 must be valid"),
        ({"severities": [6]}, "corruptions.severities.0 must be valid"),
        ({"severities": []}, "corruptions.severities must be valid"),
        ([], "corruptions.names.* must be valid"),
        ({"strength": 1}, "corruptions.strength must be valid"),
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
        if len(calls) > 1:  # the first one is the clean case
            msg = "image must vary."
            raise InputError(msg)
        return whole(self, volume)

    monkeypatch.setattr(CaseSource, "fit", fit)
    with pytest.raises(InputError, match="gaussian-noise at severity 1: image must vary"):
        audit(tiny_run, raw_phantom, PLAN, tmp_path / "a", select=["phantom_005"])


def _record(case, clean, losses):
    """A record whose Dice falls by `losses[name][severity - 1]`."""

    def scores(dice):
        return {"foreground_mean": {"dice": dice}}

    record = CaseRecord(case, clean=scores(clean))
    for name, falls in losses.items():
        record.corruptions += [
            {"corruption": name, "severity": s, "scores": scores(clean - fall)} for s, fall in enumerate(falls, 1)
        ]
    return record


def _as_published(records, name):
    """The order of the authors' package: means over cases first, then weights (2/3)^severity."""
    clean = np.mean([r.clean["foreground_mean"]["dice"] for r in records])
    weights, falls = [], []
    for severity in range(1, 6):
        dice = [
            e["scores"]["foreground_mean"]["dice"]
            for r in records
            for e in r.corruptions
            if (e["corruption"], e["severity"]) == (name, severity)
        ]
        weights.append((2 / 3) ** severity)
        falls.append(clean - np.mean(dice))
    return np.average(falls, weights=weights)


def test_degradation_is_that_of_rood_mri():
    rng = np.random.default_rng(0)
    records = [_record(f"c{i}", 0.9 - i / 100, {n: rng.uniform(0, 0.4, 5) for n in ("a", "b", "c")}) for i in range(7)]
    found = degradation(records)
    expected = {name: _as_published(records, name) for name in ("a", "b", "c")}
    assert found["per_corruption"] == pytest.approx(expected)
    assert found["mean"] == pytest.approx(np.mean(list(expected.values())))
    assert found["worst"] == max(found["per_corruption"].values()) == found["per_corruption"][found["worst_corruption"]]
    clean = np.mean([0.9 - i / 100 for i in range(7)])
    assert found["relative"]["mean"] == pytest.approx(found["mean"] / clean)
    assert found["ci95"][0] < found["mean"] < found["ci95"][1]
    assert all(low < expected[name] < high for name, (low, high) in found["per_corruption_ci95"].items())
    assert ALPHA == 2 / 3


def test_degradation_by_hand():
    record = _record("one", 0.8, {"a": [0.1, 0.2], "b": [0.0, -0.1]})
    found = degradation([record])
    assert found["per_corruption"]["a"] == pytest.approx((2 / 3 * 0.1 + 4 / 9 * 0.2) / (2 / 3 + 4 / 9))
    assert found["unweighted"]["per_corruption"] == pytest.approx({"a": 0.15, "b": -0.05})
    assert found["ci95"] == pytest.approx([found["mean"]] * 2), "one case has no spread"
    line = "Degradation over 2 corruptions (ROOD-MRI) 0.050 [0.050, 0.050], worst 0.140 (a)"
    assert degradation_line({"degradation": found}) == line
    assert degradation_line({}) == degradation_line({"degradation": degradation([_record("one", 0.8, {})])}) == ""


def test_cases_where_a_corruption_does_not_occur_do_not_count():
    records = [_record("x", 0.8, {"a": [0.1] * 5, "b": [0.2] * 5}), _record("y", 0.6, {"a": [0.3] * 5})]
    records[1].corruptions_left_out["b"] = "it has one slice"
    found = degradation(records)
    assert found["per_corruption"] == pytest.approx({"a": 0.2, "b": 0.2})
    assert found["relative"]["per_corruption"] == pytest.approx({"a": 0.2 / 0.7, "b": 0.25})
    assert found["left_out"] == {}
    assert np.isfinite(found["ci95"]).all()
    figures, scores = corruption_figures(records, GaussianNoise(), 1)
    assert (figures["n"], figures["change"], scores) == (0, None, {})
    nothing = degradation([CaseRecord("z", clean={"foreground_mean": {"dice": 0.5}})])
    assert (nothing["mean"], nothing["worst"], nothing["per_corruption"]) == (None, None, {})
