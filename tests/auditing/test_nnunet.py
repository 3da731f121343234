"""Audits and attacks of nnU-Net folders through the same commands as any other model."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from imaseg import load_cases, load_model
from imaseg.auditing.inputs.source import CaseSource
from imaseg.cli.main import app
from tests.nnunet_folder import REGIONS, dataset, plans, write_raw, write_results

pytest.importorskip("nnunetv2", reason="nnunetv2 is not installed (pip install 'imaseg[nnunet]')")

PLAN = """
name: tiny
probes:
  - {attack: uniform-noise, unit: rms, eps: [0.1]}
  - {attack: pgd, unit: rms, eps: [0.1], steps: 1}
margins: []
validity: null
showcase: {attack: pgd, eps: 0.1}
seed: 0
"""


@pytest.fixture(scope="module")
def raw(raw_phantom, tmp_path_factory):
    return write_raw(raw_phantom, tmp_path_factory.mktemp("nnunet"))


@pytest.fixture
def flat(tmp_path):
    return write_results(tmp_path / "nnUNetTrainer__tiny__2d", plans((24, 16)))


def _run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_fold_is_audited_on_its_validation_cases_and_says_when_it_is_not(flat, raw, tmp_path):
    split = [{"train": ["phantom_001", "phantom_002"], "val": ["phantom_003"]}]
    (flat / "splits_final.json").write_text(json.dumps(split))
    plan = tmp_path / "plan.yaml"
    plan.write_text(PLAN)
    done = _run("audit", f"nnunet:{flat}@0", raw, "--out", tmp_path / "a", "--plan", plan, "--device", "cpu")
    assert done.exit_code == 3, done.output  # random weights find nothing, which the audit says of itself
    summary = json.loads((tmp_path / "a" / "summary.json").read_text())
    assert (summary["data"]["selection"], summary["data"]["seen_in_training"]) == ("held out", [])
    assert [row["case"] for row in summary["metric_per_case"]] == ["phantom_003"]
    assert "was trained on" not in done.output
    seen = ["--cases", "phantom_001,phantom_003"]
    done = _run("audit", f"nnunet:{flat}@0", raw, "--out", tmp_path / "b", "--plan", plan, "--device", "cpu", *seen)
    assert "was trained on 1 of these 2 cases (phantom_001)" in done.output


def test_adversarial_files_hold_their_budget_in_native_units(flat, raw, tmp_path):
    done = _run(
        "attack", f"nnunet:{flat}", raw, "--out", tmp_path / "x", "--cases", "phantom_002", "--device", "cpu",
        "--attack", "pgd", "--steps", "2", "--eps", "2000", "--unit", "native",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / "x" / "cases" / "phantom_002.json").read_text())
    (row,), native = record["rows"], record["scale"]["native"]
    assert row["sizes"]["rms_native"] == pytest.approx(2000, rel=1e-4)
    reread = row["written"]["sizes_reread"]["rms"] * native
    assert 1000 < reread < 2200, "nnU-Net clips what its splines overshoot"
    dice = row["written"]["dice"]["foreground_mean"]
    assert dice["attacked"] < dice["clean"]


@pytest.mark.parametrize("labels", [REGIONS, {"background": 0, "front": 1, "ignore": 2}], ids=["regions", "ignore"])
def test_regions_and_ignored_voxels_go_through_an_audit(labels, raw, tmp_path):
    content = dataset(labels)
    (raw / "dataset.json").write_text(json.dumps(content))
    folder = write_results(tmp_path / "nnUNetTrainer__tiny__2d", plans((24, 16)), content)
    plan = tmp_path / "plan.yaml"
    plan.write_text(PLAN)
    arguments = ["--out", tmp_path / "a", "--plan", plan, "--device", "cpu", "--cases", "phantom_001"]
    done = _run("audit", f"nnunet:{folder}", raw, *arguments)
    (raw / "dataset.json").write_text(json.dumps(dataset()))
    assert done.exit_code == 3, done.output
    summary = json.loads((tmp_path / "a" / "summary.json").read_text())
    names = {"1": "both", "2": "right"} if labels is REGIONS else {"1": "front"}
    assert summary["data"]["labels"] == names
    if labels is REGIONS:
        model, cases = load_model(f"nnunet:{folder}"), load_cases(raw).select(["phantom_001"])
        case = CaseSource(cases, model.card, model.prepare).load(cases[0])
        with torch.no_grad():
            decided = model(torch.from_numpy(case.volume.image)[None])[0].argmax(0).numpy()
        (told,) = summary["metric_per_case"]
        for k, inside in (("1", [1, 2]), ("2", [2])):
            found, truth = np.isin(decided, inside), np.isin(case.label, inside)
            dice = 2 * (found & truth).sum() / (found.sum() + truth.sum())
            assert told["metrics"][k]["dice"] == pytest.approx(dice, abs=1e-6)
    (attacked,) = (probe for probe in summary["probes"] if probe["probe"].startswith("pgd"))
    assert attacked["foreground_mean"]["dice"] < summary["foreground_mean"]["dice"]
