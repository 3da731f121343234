"""One perturbation for all cases: fitted on some, judged on all, kept for whoever resumes."""

from __future__ import annotations

import csv
import shutil

import numpy as np
import pytest
import torch

from imaseg import L2, InputError, audit, load_cases, load_model
from imaseg.attacks import UniversalPGD
from imaseg.auditing import Plan
from imaseg.auditing.engine.cost import costs
from imaseg.auditing.shortcuts import attack_plan
from imaseg.auditing.table import ladder_table, strongest
from imaseg.auditing.validity.gate import Gate
from imaseg.data.reading import read_volume
from imaseg.report import read_audits
from imaseg.report.compare import all_series, settings
from imaseg.report.compare import ladder as points_of
from imaseg.report.compare import strongest as strongest_series
from imaseg.scores import foreground_dice

PLAN = Plan.model_validate(
    {
        "name": "universal",
        "probes": [
            {"kind": "universal", "unit": "rms", "eps": [0.2, 0.5], "steps": 3, "fit": 2},
            {"attack": "fgsm", "unit": "rms", "eps": [0.5]},
        ],
    }
)


@pytest.fixture(scope="module")
def done(tiny_run, prepared_phantom, tmp_path_factory):
    return audit(tiny_run, prepared_phantom, PLAN, tmp_path_factory.mktemp("universal") / "a", select="all")


def _tensors(folder, name):
    volume = read_volume(load_cases(folder).select([name])[0])
    return torch.from_numpy(volume.image)[None], torch.from_numpy(volume.label)[None]


def test_it_is_what_the_attack_finds_on_the_first_cases(done, tiny_run, prepared_phantom):
    model, first = load_model(tiny_run), [record.case for record in done.audit.cases][:2]
    batches = [_tensors(prepared_phantom, name) for name in first]
    found = UniversalPGD(L2(0.5, unit="rms"), steps=3).fit(model, batches)
    held = np.load(done.folder / "universal" / "universal-l2.npz")
    assert np.allclose(held["pattern_1"], found.pattern.numpy(), atol=1e-5)
    assert held["fitted"].tolist() == first
    model.eval()
    for record in done.audit.cases:
        image, label = _tensors(prepared_phantom, record.case)
        with torch.no_grad():
            dice = float(foreground_dice(model(found.apply(image)), label))
        (row,) = [row for row in record.rows if (row.probe, row.eps) == ("universal-l2", 0.5)]
        assert row.dice == pytest.approx(dice, abs=1e-4)
        assert row.sizes["rms"] <= 0.5 * (1 + 1e-5)
        assert row.fitted_on == first


def test_cases_that_it_was_fitted_on_are_told_apart(done):
    first, *_ = cases = [record.case for record in done.audit.cases]
    entries = {(entry.probe, entry.eps): entry for entry in done.audit.summary.probes}
    seen, others = entries["universal-l2-fitted", 0.5], entries["universal-l2", 0.5]
    assert [case.case for case in seen.metric_per_case] == cases[:2]
    assert [case.case for case in others.metric_per_case] == cases[2:]
    assert seen.fitted_on == others.fitted_on == cases[:2]
    held = np.load(done.folder / "universal" / "universal-l2.npz")
    assert seen.dice == pytest.approx(float(held["dice"][1]), abs=1e-4)
    (reread,) = read_audits([done.folder])
    said = {one.probe: settings(points_of(reread, one)[0]) for one in all_series([reread])}
    assert f"fitted on {cases[0]} and {cases[1]} and judged on these" in said["universal-l2-fitted"]
    assert f"fitted on {cases[0]} and {cases[1]} and judged on other cases" in said["universal-l2"]
    assert first in (done.folder / "report.html").read_text()


def test_it_never_stands_for_the_attacks_on_each_case(done):
    summary = done.audit.summary
    (fgsm,) = [entry for entry in summary.probes if entry.attack == "fgsm"]
    assert strongest(summary) == {("l2", "rms", 0.5): fgsm.dice}
    assert [series.probe for series in strongest_series(read_audits([done.folder]))] == ["fgsm-l2"]
    assert Gate.parse("dice@l2-0.5=0.1", PLAN).value(summary) == fgsm.dice
    (others,) = [entry for entry in summary.probes if (entry.probe, entry.eps) == ("universal-l2", 0.5)]
    assert Gate.parse("dice@universal-l2-0.5=0.1", PLAN).value(summary) == others.dice
    assert "universal-l2-fitted 0.5 rms" in ladder_table([summary])


def test_a_resumed_audit_judges_with_the_one_that_was_kept(done, tiny_run, prepared_phantom, tmp_path):
    folder = shutil.copytree(done.folder, tmp_path / "a")
    name = done.audit.cases[3].case
    (folder / "cases" / f"{name}.json").unlink()
    path = folder / "universal" / "universal-l2.npz"
    held = dict(np.load(path))
    np.savez(path, **held | {"pattern_1": np.zeros_like(held["pattern_1"])})  # what nobody would find by fitting
    again = audit(tiny_run, prepared_phantom, PLAN, folder, select="all", resume=True)
    (record,) = [record for record in again.audit.cases if record.case == name]
    (row,) = [row for row in record.rows if (row.probe, row.eps) == ("universal-l2", 0.5)]
    assert row.size == 0
    assert row.dice == record.clean["foreground_mean"]["dice"]
    assert not [path for path in (folder / "universal").iterdir() if path.name != "universal-l2.npz"]


def test_a_damaged_one_is_named(done, tiny_run, prepared_phantom, tmp_path):
    folder = shutil.copytree(done.folder, tmp_path / "a")
    for path in (folder / "cases").glob("*.json"):
        path.unlink()
    (folder / "universal" / "universal-l2.npz").write_bytes(b"PK no archive")
    with pytest.raises(InputError, match=r"universal-l2.npz must be what probe universal-l2 wrote.*Delete it"):
        audit(tiny_run, prepared_phantom, PLAN, folder, select="all", resume=True)


def test_half_of_the_cases_are_left_and_the_cost_is_known():
    (probe, _) = PLAN.probes
    assert [probe.model_copy(update={"fit": 8}).once(cases).gradients for cases in (1, 2, 6, 40)] == [
        2 * 3 * fitted for fitted in (1, 1, 3, 8)
    ]
    assert costs(PLAN, 2, 6)[0].name == "universal-l2: fit"
    assert costs(PLAN, 2, 6)[0].first == 1


def test_the_calls_told_are_those_that_are_made(done):
    first = done.audit.cases[0]
    (fitted, judged, fgsm) = costs(PLAN, 2, len(done.audit.cases))
    assert fitted.gradients <= first.backward_calls <= fitted.gradients + fgsm.gradients
    spent = first.forward_calls - done.audit.cases[1].forward_calls
    assert spent == fitted.gradients + fitted.forwards
    assert judged.forwards == 2


def test_the_command_line_asks_for_one(tiny_run):
    (probe,) = attack_plan("universal", "linf", 0.1, steps=4, within="20 mm").probes
    assert (probe.kind, probe.name, probe.steps) == ("universal", "universal-linf-within-20mm", 4)
    with pytest.raises(InputError, match="restarts must be left out"):
        attack_plan("universal", "l2", 0.1, restarts=2)
    with pytest.raises(InputError, match="must be L2 or Linf.*got bias-field"):
        attack_plan("universal", "bias-field", 0.1)


def test_tables_say_of_every_case_whether_it_was_fitted_on_it(done):
    with (done.folder / "cases.csv").open() as file:
        named = {
            (line["case"], line["probe"]) for line in csv.DictReader(file) if line["probe"].startswith("universal")
        }
    fitted = set(done.audit.summary.probes[0].fitted_on)
    assert 0 < len(fitted) < len(done.audit.cases)
    assert named == {
        (record.case, "universal-l2-fitted" if record.case in fitted else "universal-l2") for record in done.audit.cases
    }
    text = ladder_table([done.audit.summary])
    for name, count in (("universal-l2-fitted", len(fitted)), ("universal-l2", len(done.audit.cases) - len(fitted))):
        assert f"{name} 0.2 rms ({count} case" in text
