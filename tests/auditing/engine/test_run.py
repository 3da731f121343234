"""Audits end to end on the phantoms: files, honesty about cases, resumption, raw input."""

from __future__ import annotations

import csv
import importlib
import json
import re
import shutil
import sys
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch

from imaseg import L2, PGD, DiceBelow, InputError, SampleMargin, audit, load_cases, load_model
from imaseg.auditing import Plan, load_plan
from imaseg.auditing.engine import work
from imaseg.auditing.inputs.source import CaseSource, Loaded
from imaseg.auditing.metrics.calibration import calibration_error
from imaseg.auditing.probes import AttackProbe, MarginProbe, VoxelMarginProbe
from imaseg.auditing.probes.scene import Scene
from imaseg.auditing.table import ladder_table, strongest
from imaseg.data.files import write_json
from imaseg.data.reading import read_volume
from imaseg.margins import default_challenger
from imaseg.results.attack import AttackRow
from imaseg.results.base import COUNTS, MEAN
from imaseg.results.standing import standing

PLAN = Plan.model_validate(
    {
        "name": "test",
        "probes": [
            {"attack": "gaussian-noise", "unit": "rms", "eps": [0.1, 0.4]},
            {"attack": "fgsm", "unit": "rms", "eps": [0.1, 0.4]},
            {"attack": "pgd", "unit": "rms", "eps": [0.1, 0.4], "steps": 4},
        ],
        "margins": [{"unit": "rms", "eps": 1.0, "steps": 4, "rtol": 0.2}],
        "validity": {"cases": 1, "large_eps": 5.0, "scaled_eps": 0.1},
        "showcase": {"eps": 0.4},
    }
)

QUICK = Plan.model_validate(
    {
        "name": "quick",
        "probes": [{"attack": "fgsm", "unit": "rms", "eps": [0.1]}],
        "showcase": {"attack": "fgsm", "eps": 0.1},
    }
)


@pytest.fixture(scope="module")
def done(tiny_run, prepared_phantom, tmp_path_factory):
    return audit(tiny_run, prepared_phantom, PLAN, tmp_path_factory.mktemp("audits") / "a")


def test_it_runs_on_the_held_out_cases_and_writes_the_promised_files(done):
    assert done.summary["data"]["selection"] == "val"
    assert done.summary["data"]["seen_in_training"] == []
    ids = [row["case"] for row in done.summary["metric_per_case"]]
    assert ids == ["phantom_005", "phantom_006"]
    names = {path.name for path in done.folder.iterdir()}
    assert names == {"summary.json", "cases.csv", "run.json", "report.html", "cases"}
    assert {path.name for path in (done.folder / "cases").iterdir()} == {
        f"{i}.{e}" for i in ids for e in ("json", "npz")
    }
    assert not done.failed


def test_numbers_are_those_of_a_direct_attack(done, tiny_run, prepared_phantom):
    model = load_model(tiny_run)
    dice, sizes = [], []
    for name in ("phantom_005", "phantom_006"):
        volume = read_volume(load_cases(prepared_phantom).select([name])[0])
        image, label = torch.from_numpy(volume.image)[None], torch.from_numpy(volume.label)[None]
        *_, result = PGD(L2(0.4, unit="rms"), steps=4, seed=0).ladder(model, image, label, [0.1, 0.4])
        dice.append(result.foreground_dice.item())
        sizes.append(result.sizes["rms"].item())
    (entry,) = [p for p in done.summary["probes"] if p["probe"] == "pgd-l2" and p["eps"] == 0.4]
    assert entry["foreground_mean"]["dice"] == pytest.approx(sum(dice) / 2, abs=1e-6)
    assert entry["n"] == 2
    assert entry["sizes"]["rms"] == pytest.approx(sum(sizes) / 2, rel=1e-4)


def test_worst_case_takes_the_lowest_dice_of_each_case(done):
    probes = {(p["probe"], p["eps"]): p for p in done.summary["probes"]}
    for eps in (0.1, 0.4):
        worst = {
            row["case"]: row["metrics"]["foreground_mean"]["dice"]
            for row in probes["worst-case-l2", eps]["metric_per_case"]
        }
        for case, value in worst.items():
            rivals = [
                row["metrics"]["foreground_mean"]["dice"]
                for name in ("fgsm-l2", "pgd-l2")
                for row in probes[name, eps]["metric_per_case"]
                if row["case"] == case
            ]
            assert value == min(rivals)
        assert (
            strongest(done.audit.summary)["l2", "rms", eps] == probes["worst-case-l2", eps]["foreground_mean"]["dice"]
        )


def test_the_table_is_tidy_and_agrees_with_the_summary(done):
    rows = list(csv.DictReader((done.folder / "cases.csv").open()))
    assert list(rows[0]) == ["case", "probe", "eps", "class", "metric", "value"]
    clean = [r for r in rows if r["probe"] == "clean" and r["class"] == "foreground_mean" and r["metric"] == "dice"]
    mean = sum(float(row["value"]) for row in clean) / len(clean)
    assert mean == pytest.approx(done.summary["foreground_mean"]["dice"])
    assert {row["probe"] for row in rows} == {"clean", "gaussian-noise-l2", "fgsm-l2", "pgd-l2", "margin-l2"}


def test_every_mean_has_its_interval_and_sizes_their_volumes(done, prepared_phantom):
    for block in (done.summary, *done.summary["probes"]):
        means = {metric for metric in block["foreground_mean"] if not metric.endswith(COUNTS)}
        assert block["ci95"].keys() == means
        assert {"surface_dice_2mm", "volume_error", "missed", "false_positive", "ece"} <= means
        assert block["mean_ci95"].keys() == block["mean"].keys() == {"1", "2"}
    labels = [
        nib.load(prepared_phantom / "labelsTr" / f"{row['case']}.nii.gz") for row in done.summary["metric_per_case"]
    ]
    volumes = [(np.asarray(i.dataobj) == 1).sum() * np.prod(i.header.get_zooms()) / 1000 for i in labels]
    entry, _ = done.summary["by_size"]
    assert (entry["group"], entry["structure"], entry["n"]) == ("all", "1", 2)
    assert entry["volume_ml"] == pytest.approx(sorted(volumes))
    assert entry["clean"] == pytest.approx(done.summary["mean"]["1"]["dice"])
    assert [probe["dice"] for probe in entry["probes"]] == pytest.approx(
        [probe["mean"]["1"]["dice"] for probe in done.summary["probes"]]
    )
    assert "halves below 9" in done.summary["by_size_rule"]


def test_calibration_is_that_of_the_attacked_image(done, tiny_run, prepared_phantom):
    model = load_model(tiny_run).eval()
    volume = read_volume(load_cases(prepared_phantom).select(["phantom_005"])[0])
    image, label = torch.from_numpy(volume.image)[None], torch.from_numpy(volume.label)[None]
    *_, result = PGD(L2(0.4, unit="rms"), steps=4, seed=0).ladder(model, image, label, [0.1, 0.4])
    blocks = {"clean": done.summary} | {(p["probe"], p["eps"]): p for p in done.summary["probes"]}
    for key, seen in (("clean", image), (("pgd-l2", 0.4), result.image)):
        with torch.no_grad():
            expected = calibration_error(model(seen)[0], label[0], spacing=volume.spacing)
        found = blocks[key]["metric_per_case"][0]["metrics"]["foreground_mean"]["ece"]
        assert found == pytest.approx(expected, abs=1e-6)


def test_run_json_says_what_was_run_and_what_it_cost(done):
    run = json.loads((done.folder / "run.json").read_text())
    assert run["plan"]["probes"][2]["steps"] == 4
    assert {"torch", "monai", "python"} <= run["versions"].keys()
    assert run["forward_calls"] > run["backward_calls"] > 0
    assert run["seconds"] > 0
    assert len(run["model"]["sha256"]) == len(run["data_sha256"]) == 64


def test_eps_is_stated_in_native_units(done, prepared_phantom):
    prepared = json.loads((prepared_phantom / "prepare.json").read_text())
    std = [
        step["std"]
        for case in prepared["cases"]
        if case["id"] in ("phantom_005", "phantom_006")
        for step in case["steps"]
        if step["name"] == "normalise"
    ]
    entry = done.summary["probes"][0]
    assert entry["eps_native"]["max"] == pytest.approx(0.1 * max(std))
    assert entry["eps_native"]["min"] == pytest.approx(0.1 * min(std))


def test_slices_show_one_plane_of_every_volume(done):
    with np.load(done.folder / "cases" / "phantom_005.npz") as slices:
        arrays = [name for name in slices.files if not name.startswith("volume_")]
        shapes = {slices[name].shape for name in arrays if name != "spacing"}
        assert len(shapes) == 1
        assert slices["label"].max() == 2
        assert not np.array_equal(slices["image"], slices["attacked_image"])
        assert slices["spacing"].shape == (2,)


def test_raw_data_give_what_prepared_data_give(done, tiny_run, raw_phantom, tmp_path):
    raw = audit(tiny_run, raw_phantom, PLAN, tmp_path / "raw")
    for ours, theirs in zip(raw.summary["probes"], done.summary["probes"], strict=True):
        assert ours["foreground_mean"]["dice"] == pytest.approx(theirs["foreground_mean"]["dice"], abs=0.01)


def test_margins_in_std_are_those_of_a_direct_search(tiny_run, prepared_phantom, tmp_path):
    half = {"name": "dice-below", "threshold": 0.5, "relative": True}
    margin = {"unit": "std", "eps": 3.0, "criterion": half, "steps": 3, "rtol": 0.2}
    probe = {"attack": "fgsm", "unit": "std", "eps": [0.1]}
    spec = {"name": "m", "probes": [probe], "margins": [margin], "showcase": {"eps": 0.1, "attack": "fgsm"}}
    done = audit(tiny_run, prepared_phantom, Plan.model_validate(spec), tmp_path / "a", select=["phantom_005"])
    volume = read_volume(load_cases(prepared_phantom).select(["phantom_005"])[0])
    image, label = torch.from_numpy(volume.image)[None], torch.from_numpy(volume.label)[None]
    std = float(image.std(correction=0))
    assert abs(std - 1) > 0.1, "the case is meant to tell times from divided by"
    attack, criterion = PGD(L2(3.0 * std, unit="rms"), steps=3), DiceBelow(0.5, relative=True)
    search = SampleMargin(
        attack.perturbation, criterion=criterion, attack=attack, challenger=default_challenger(attack), rtol=0.2
    )
    direct = search(load_model(tiny_run), image, label)
    assert direct.margin > 0
    assert not direct.censored
    rows = csv.DictReader((done.folder / "cases.csv").open())
    (row,) = [row for row in rows if row["metric"] == "margin"]
    assert float(row["value"]) == pytest.approx(float(direct.margin) / std, rel=1e-4)
    (entry,) = done.summary["margins"]
    assert entry["unit"] == "std"
    assert entry["median"] == pytest.approx(float(direct.margin) / std, rel=1e-4)


def test_training_cases_are_flagged(tiny_run, prepared_phantom, tmp_path):
    seen = load_model(tiny_run).card.train_ids[:1]
    result = audit(tiny_run, prepared_phantom, PLAN, tmp_path / "seen", select=[*seen, "phantom_005"])
    assert result.summary["data"]["seen_in_training"] == seen
    panel = {check["check"]: check["ok"] for check in result.summary["validity"]}
    assert panel["No audited case was in the training set"] is False


def _content(folder):
    cases = {path.name: json.loads(path.read_text()) for path in sorted((folder / "cases").glob("*.json"))}
    for record in cases.values():
        del record["seconds"], record["peak_memory_mb"], record["process"]
    summary = json.loads((folder / "summary.json").read_text())
    del summary["cost"]
    return cases, summary, (folder / "cases.csv").read_text()


def test_a_killed_audit_resumes_and_ends_the_same(done, tiny_run, prepared_phantom, tmp_path, monkeypatch):
    write, written = work.write_json, []

    class Killed(BaseException):
        pass

    def die_after_one(path, content):
        if written:
            raise Killed
        write(path, content)
        written.append(content["case"])

    out = tmp_path / "part"
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(work, "write_json", die_after_one)
        audit(tiny_run, prepared_phantom, PLAN, out)
    first = (out / "cases" / f"{written[0]}.json").stat().st_mtime_ns
    audit(tiny_run, prepared_phantom, PLAN, out, resume=True)
    assert _content(out) == _content(done.folder)
    assert (out / "cases" / f"{written[0]}.json").stat().st_mtime_ns == first, "a finished case is not run again"


def test_another_audit_is_not_touched(done, tiny_run, prepared_phantom, tmp_path):
    out = shutil.copytree(done.folder, tmp_path / "a")
    with pytest.raises(InputError, match="got one with an audit in it. Add --resume"):
        audit(tiny_run, prepared_phantom, PLAN, out)
    other = PLAN.model_copy(update={"seed": 1})
    with pytest.raises(
        InputError, match=r"with the same plan to be resumed, got another \(seed: 0 there, 1 now\)\. Name"
    ):
        audit(tiny_run, prepared_phantom, other, out, resume=True)
    longer = Plan.model_validate(PLAN.model_dump())
    longer.probes[1].steps = 99
    with pytest.raises(InputError, match=r"got another \(probes\.1\.steps: \w+ there, 99 now\)\. Name"):
        audit(tiny_run, prepared_phantom, longer, out, resume=True)
    with pytest.raises(InputError, match="must hold an audit with the same data"):
        audit(tiny_run, prepared_phantom, PLAN, out, resume=True, select="train")
    changed = load_model(tiny_run)
    with torch.no_grad():
        next(changed.parameters()).add_(1e-3)
    with pytest.raises(InputError, match="must hold an audit of the same weights"):
        audit(changed, prepared_phantom, PLAN, out, resume=True)
    renamed = load_model(tiny_run)
    renamed.card = renamed.card.model_copy(update={"train_ids": ["another"]})
    with pytest.raises(InputError, match=r"same model card and preparation to be resumed, got another \(train_ids"):
        audit(renamed, prepared_phantom, PLAN, out, resume=True)
    assert _content(out) == _content(done.folder)


def test_a_folder_of_another_imaseg_is_said_to_be_one(done, tiny_run, prepared_phantom, tmp_path):
    out = shutil.copytree(done.folder, tmp_path / "a")
    run = json.loads((out / "run.json").read_text())
    del run["plan"]["probes"][0]["cases"]  # a key that plans had not yet
    (out / "run.json").write_text(json.dumps(run | {"plan_sha256": "0"}))
    told = r"got another \(probes\.0\.cases: unknown there, null now\)\. It was begun by another state of imaseg, whose"
    with pytest.raises(InputError, match=told):
        audit(tiny_run, prepared_phantom, PLAN, out, resume=True)
    (out / "run.json").write_text(json.dumps(run | {"plan_sha256": "0", "imaseg": "0.0.9"}))
    with pytest.raises(InputError, match=r"It was begun by imaseg 0\.0\.9, this is "):
        audit(tiny_run, prepared_phantom, PLAN, out, resume=True)


def test_a_case_that_cannot_be_read_is_listed_and_the_rest_goes_on(tiny_run, prepared_phantom, tmp_path):
    data = shutil.copytree(prepared_phantom, tmp_path / "data")
    image = data / "imagesTr" / "phantom_005.nii.gz"
    image.write_bytes(image.read_bytes()[:500])
    result = audit(tiny_run, data, PLAN, tmp_path / "a")
    assert [entry.case for entry in result.failed] == ["phantom_005"]
    assert "phantom_005" in result.failed[0].reason
    assert result.summary["data"]["cases"] == 1
    assert result.audit.run.failed == result.failed


def test_labels_the_model_does_not_know_are_refused(tiny_run, prepared_phantom, tmp_path):
    data = shutil.copytree(prepared_phantom, tmp_path / "data")
    description = json.loads((data / "dataset.json").read_text())
    description["labels"]["7"] = "Tumour"
    (data / "dataset.json").write_text(json.dumps(description))
    with pytest.raises(InputError, match=r"agree with the model's \(1 Front, 2 Back\), got 7 Tumour"):
        audit(tiny_run, data, PLAN, tmp_path / "a")


def _mute(_):
    pass


def test_channels_that_do_not_fit_fail_the_case(tiny_run, prepared_phantom, tmp_path):
    model = load_model(tiny_run)
    model.card.in_channels = 2
    with pytest.raises(InputError, match="no case of .* could be audited.*must have 2 channels"):
        audit(model, prepared_phantom, PLAN, tmp_path / "a", announce=_mute)


def test_a_label_value_nobody_declared_fails_its_case_only(tiny_run, prepared_phantom, tmp_path):
    data = shutil.copytree(prepared_phantom, tmp_path / "data")
    path = data / "labelsTr" / "phantom_005.nii.gz"
    label = nib.load(path)
    voxels = np.asarray(label.dataobj).copy()
    voxels[3, 3, 3] = 7
    nib.save(nib.Nifti1Image(voxels, label.affine), path)
    result = audit(tiny_run, data, PLAN, tmp_path / "a", announce=_mute)
    assert [entry.case for entry in result.failed] == ["phantom_005"]
    assert "got [7] as well" in result.failed[0].reason


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError(), "it ran out of memory on cpu"),
        (RuntimeError("first line\nsecond line"), "first line second line"),
        (RuntimeError(), "RuntimeError: "),
        (KeyError("key"), "KeyError: 'key'"),
        (OSError(28, "No space left on device"), "OSError: .*No space left on device"),
    ],
)
def test_an_error_of_any_type_fails_its_case_only(error, reason, tiny_run, prepared_phantom, tmp_path, monkeypatch):
    slices = Scene._slices

    def failing(scene, result):
        if scene.case.id == "phantom_005":
            raise error
        return slices(scene, result)

    monkeypatch.setattr(Scene, "_slices", failing)
    result = audit(tiny_run, prepared_phantom, QUICK, tmp_path / "a", announce=_mute)
    assert [entry.case for entry in result.failed] == ["phantom_005"]
    assert re.match(reason, result.failed[0].reason)
    assert "\n" not in result.failed[0].reason
    assert not list((tmp_path / "a").rglob("phantom_005*"))


def test_a_case_whose_record_cannot_be_written_leaves_no_files(tiny_run, prepared_phantom, tmp_path, monkeypatch):
    def refused(path, content):
        if path.stem == "phantom_005":
            msg = "Out of range float values are not JSON compliant: inf"
            raise ValueError(msg)
        write_json(path, content)

    monkeypatch.setattr(work, "write_json", refused)
    result = audit(tiny_run, prepared_phantom, QUICK, tmp_path / "a", announce=_mute)
    assert [entry.case for entry in result.failed] == ["phantom_005"]
    assert not list((tmp_path / "a" / "cases").glob("phantom_005*"))


def test_a_case_whose_file_was_damaged_is_done_again(tiny_run, prepared_phantom, tmp_path):
    folder = audit(tiny_run, prepared_phantom, QUICK, tmp_path / "a", announce=_mute).folder
    path = folder / "cases" / "phantom_005.npz"
    before = path.read_bytes()
    path.write_bytes(before[:100])
    audit(tiny_run, prepared_phantom, QUICK, folder, resume=True, announce=_mute)
    with np.load(path) as again:
        assert again["image"].size
    assert path.stat().st_size == len(before)


def test_a_case_named_twice_counts_once(tiny_run, prepared_phantom, tmp_path):
    result = audit(tiny_run, prepared_phantom, QUICK, tmp_path / "a", select="phantom_005,phantom_006,phantom_005")
    assert result.audit.summary.data.cases == 2
    assert [case.case for case in result.audit.summary.metric_per_case] == ["phantom_005", "phantom_006"]


def test_a_model_with_undefined_weights_is_one_clear_line(tiny_run, prepared_phantom, tmp_path):
    model = load_model(tiny_run)
    with torch.no_grad():
        next(model.parameters()).fill_(torch.nan)
    with pytest.raises(InputError, match="model tiny must hold weights that are numbers, got NaN in"):
        audit(model, prepared_phantom, PLAN, tmp_path / "a", announce=_mute)


def test_cases_prepared_otherwise_than_the_models_are_refused(tiny_run, raw_phantom, tmp_path):
    from imaseg.data.preparation.prepare import prepare
    from imaseg.data.preparation.recipe import Recipe

    prepare(raw_phantom, tmp_path / "other", Recipe(normalise="percentile"))
    with pytest.raises(InputError, match="got another normalise. Audit the folder as it was before"):
        audit(tiny_run, tmp_path / "other", PLAN, tmp_path / "a")


def test_an_empty_split_is_one_clear_line(tiny_run, prepared_phantom, tmp_path):
    data = shutil.copytree(prepared_phantom, tmp_path / "data")
    (data / "split.json").write_text('{"train": ["phantom_001"], "val": []}')
    with pytest.raises(InputError, match="selection must hold at least one case"):
        audit(tiny_run, data, PLAN, tmp_path / "a")


def test_a_model_that_was_handed_in_is_left_as_it_was(tiny_run, prepared_phantom, tmp_path):
    model = load_model(tiny_run).train()
    quick = PLAN.model_copy(update={"probes": PLAN.probes[:3], "validity": None})
    audit(model, prepared_phantom, quick, tmp_path / "a", select=["phantom_005"])
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_what_a_killed_write_left_behind_is_no_other_content(tiny_run, prepared_phantom, tmp_path):
    out = tmp_path / "a"
    out.mkdir()
    (out / ".123-run.json").write_text("{")
    quick = PLAN.model_copy(update={"probes": PLAN.probes[:3], "validity": None})
    audit(tiny_run, prepared_phantom, quick, out, select=["phantom_005"])
    (out / ".124-summary.json").write_text("{")
    audit(tiny_run, prepared_phantom, quick, out, select=["phantom_005"], resume=True)
    assert not (out / ".124-summary.json").exists()


@pytest.fixture(scope="module")
def deep(tiny_run, prepared_phantom, tmp_path_factory):
    """Certificates, maps, margins of structures; one case of two gets what is for the first one only."""
    half = {"name": "dice-below", "threshold": 0.5, "relative": True}
    plan = Plan.model_validate(
        {
            "name": "deep",
            "probes": [{"attack": "pgd", "unit": "std", "eps": [0.1], "steps": 2}],
            "margins": [{"unit": "std", "eps": 1.0, "criterion": half, "steps": 2, "rtol": 0.5, "per_class": True}],
            "certified": [{"sigma": 0.1, "unit": "std", "samples": 100}],
            "voxel_margins": {"unit": "std", "eps": 0.5, "cases": 1, "rungs": 3, "focus": 2},
            "validity": {"cases": 1, "large_eps": 5.0, "scaled_eps": 0.1},
            "showcase": {"eps": 0.1},
        }
    )
    return audit(tiny_run, prepared_phantom, plan, tmp_path_factory.mktemp("audits") / "deep")


def test_margins_of_structures_stand_beside_those_of_cases(deep):
    whole, first, second = deep.summary["margins"]
    assert (whole["probe"], whole["structure"], whole["n"]) == ("margin-l2", None, 2)
    assert (first["probe"], second["probe"]) == ("margin-l2-class-1", "margin-l2-class-2")
    assert first["structure"] == deep.summary["data"]["labels"]["1"]
    assert "class 1" in first["criterion"]
    table = csv.DictReader((deep.folder / "cases.csv").open())
    rows = [row for row in table if row["probe"] == "margin-l2" and row["metric"] == "margin"]
    assert [row["class"] for row in rows] == ["foreground_mean", "1", "2"] * 2
    assert float(rows[1]["value"]) == first["per_case"][0]["margin"]


def test_certificates_bound_the_smoothed_dice(deep):
    (found,) = deep.summary["certified"]
    assert (found["probe"], found["sigma"], found["samples"], found["n"]) == ("certified-l2", 0.1, 100, 2)
    assert found["radii"] == pytest.approx([0.1 * 0.25335, 0.1 * 0.67449], abs=1e-5)
    assert found["dice"] >= found["dice_at_radius"][0] >= found["dice_at_radius"][1] >= 0
    assert [row["case"] for row in found["per_case"]] == ["phantom_005", "phantom_006"]
    panel = {check["check"]: check for check in deep.summary["validity"]}
    check = panel["No attack within a certified radius flips what is certified"]
    assert check["ok"] is not False
    if sum(found["dice_at_radius"]):
        assert check["number"].startswith("0 of ")


def test_the_map_of_the_first_case_is_beside_its_record(deep, tiny_run, prepared_phantom):
    (entry,) = deep.summary["voxel_margins"]
    assert [row["case"] for row in entry["per_case"]] == ["phantom_005"]
    ((shown,),) = (row["maps"] for row in entry["per_case"])
    assert shown["view"] == "cases/phantom_005.voxel-margin-l2.npz"
    assert not (deep.folder / "cases" / "phantom_006.voxel-margin-l2.npz").exists()
    volume = read_volume(load_cases(prepared_phantom).select(["phantom_005"])[0])
    with np.load(deep.folder / shown["view"]) as arrays:
        kinds = {name: (str(arrays[name].dtype), arrays[name].shape) for name in arrays.files}
        shape = volume.shape
        assert kinds == {
            "image": ("float16", shape), "attack": ("float16", shape), "label": ("uint8", shape),
            "prediction": ("uint8", shape), "spacing": ("float64", (3,)),
        }  # fmt: skip
        right = arrays["label"] == arrays["prediction"]
        assert np.array_equal(arrays["label"], volume.label)
        margin = arrays[shown["array"]]
        assert (margin[~right] == 0).all()
        assert (shown["right"], shown["censored"]) == (right.sum(), np.isinf(margin).sum())
        assert (margin[np.isfinite(margin)] <= 0.5 + 1e-3).all()


def test_every_check_of_the_first_case_was_run(deep):
    grey = {check["check"] for check in deep.summary["validity"] if check["ok"] is None}
    assert {name.partition(" ")[0] for name in grey} <= {"Noise", "FGSM", "PGD", "A", "No"}
    record = json.loads((deep.folder / "cases" / "phantom_005.json").read_text())
    assert record["checks"]["replay"] < 1e-5
    before, after = record["checks"]["converged"]
    assert after <= before
    assert json.loads((deep.folder / "cases" / "phantom_006.json").read_text())["checks"] is None
    assert deep.summary["valid"] == all(check["ok"] is not False for check in deep.summary["validity"])


def _shortened(probe):
    fixed = probe.is_noise or probe.attack == "fgsm"
    return probe.model_copy(
        update={"eps": probe.eps[:1], "restarts": 1, "steps": None if fixed else 4 if probe.attack == "sea" else 2}
    )


def _short(probe):
    """The same question with next to no effort."""
    if isinstance(probe, AttackProbe):
        return _shortened(probe)
    if isinstance(probe, MarginProbe):
        return probe.model_copy(update={"steps": 1, "rtol": 0.9, "per_class": False})
    return probe.model_copy(update={"rungs": 1, "focus": 1}) if isinstance(probe, VoxelMarginProbe) else probe


@pytest.mark.parametrize("name", ["quick", "standard", "thorough"])
def test_every_part_of_a_shipped_plan_runs_on_a_case(name, tiny_run, prepared_phantom, tmp_path):
    plan = load_plan(name)
    changes = {
        "probes": [_short(probe) for probe in plan.probes],
        "showcase": plan.showcase.model_copy(update={"eps": plan.attack("pgd").eps[0]}),
        "validity": None,
    }
    done = audit(tiny_run, prepared_phantom, plan.model_copy(update=changes), tmp_path / "a", select=["phantom_005"])
    assert not done.failed
    measured = {entry["probe"] for entry in done.summary["probes"]}
    assert {probe.name for probe in plan.attacks} <= measured
    assert len(done.summary["margins"]) == len(plan.of(MarginProbe))
    units = {(entry["perturbation"], entry["unit"]) for entry in done.summary["probes"]}
    known = {"l2": "std", "linf": "std", "deformation": "mm", "frequency": "grey level"}
    assert units == {(kind, known.get(kind, "relative")) for kind, _ in units}


def test_budgets_in_std_do_not_depend_on_the_scale_of_the_images(tiny_run, prepared_phantom, tmp_path):
    model = load_model(tiny_run)
    (case,) = load_cases(prepared_phantom).select(["phantom_005"])
    volume = read_volume(case)
    forward = model.network.forward

    def row(factor):
        """Of an image so many times as bright, for a model that expects it."""
        bright = replace(volume, image=volume.image * factor)
        model.network.forward = lambda image: forward(image / factor)
        scene = Scene(
            model,
            CaseSource(load_cases(prepared_phantom), model.card),
            case,
            Loaded(bright, bright, [], None),
            folder=tmp_path,
        )
        (found,) = AttackProbe(attack="pgd", unit="std", eps=[0.2], steps=3).run(scene)
        return scene.scale.std, found

    (std, ours), (dimmer, theirs) = row(1.0), row(1 / 8)
    assert dimmer == pytest.approx(std / 8)
    assert theirs.sizes["rms"] == pytest.approx(ours.sizes["rms"] / 8, rel=1e-4)
    assert theirs.dice == pytest.approx(ours.dice, abs=0.01)


def test_the_ladder_table_lines_up(done):
    table = ladder_table([done.audit.summary] * 2)
    lines = table.splitlines()
    heads = 1 + next(number for number, line in enumerate(lines) if line.startswith("Mean foreground Dice"))
    assert len({len(line) for line in lines[heads:]}) == 1
    assert f"{done.summary['foreground_mean']['dice']:.3f}" in lines[heads + 1]
    said = standing(done.audit.summary).sentence
    assert [line for line in lines[: heads - 1] if line.endswith(said)] == lines[: heads - 1]


def test_a_plan_without_pictures_and_checks_runs(tiny_run, prepared_phantom, tmp_path):
    plan = Plan.model_validate({"name": "bare", "probes": [{"attack": "fgsm", "unit": "rms", "eps": [0.1]}]})
    done = audit(tiny_run, prepared_phantom, plan, tmp_path / "a")
    assert (done.summary["showcase"], done.audit.cases[0].checks) == (None, None)
    assert not list(tmp_path.rglob("*.npz"))
    grey = {check.check: check.detail for check in done.audit.summary.validity if check.ok is None}
    assert "the plan asks for no extra attacks" in grey["A very large budget destroys the segmentation"]
    assert (done.folder / "report.html").is_file()


def test_an_attack_of_the_first_cases_only_is_summed_up_over_these(tiny_run, prepared_phantom, tmp_path):
    probes = [
        {"attack": "fgsm", "unit": "rms", "eps": [0.1]},
        {"attack": "pgd", "unit": "rms", "eps": [0.1], "steps": 2, "cases": 1},
    ]
    done = audit(tiny_run, prepared_phantom, Plan.model_validate({"name": "few", "probes": probes}), tmp_path / "a")
    summary = done.audit.summary
    assert {(entry.probe, entry.n) for entry in summary.probes} == {
        ("fgsm-l2", 2), ("pgd-l2", 1), ("worst-case-l2", 1)
    }  # fmt: skip
    worst = next(entry for entry in summary.probes if entry.attack == "worst-case")
    rivals = [entry for entry in summary.probes if entry.attack != "worst-case"]
    assert [case.case for case in worst.metric_per_case] == ["phantom_005"]
    assert worst.dice == min(entry.metric_per_case[0].dice for entry in rivals)
    assert all([probe.probe for probe in group.probes] == ["fgsm-l2"] for group in summary.by_size)


def test_an_attack_with_an_objective_of_its_own_says_so(tiny_run, prepared_phantom, tmp_path):
    probe = {"attack": "minimum-norm", "unit": "rms", "eps": [0.1], "steps": 2}
    plan = Plan.model_validate({"name": "own", "probes": [probe]})
    done = audit(tiny_run, prepared_phantom, plan, tmp_path / "a", select=["phantom_005"])
    assert done.audit.summary.probes[0].objective is None


@pytest.mark.parametrize("attack", ["fgsm", "pgd"])
def test_convergence_of_an_attack_of_one_step_is_checked_too(attack, tiny_run, prepared_phantom, tmp_path):
    spec = {
        "name": "one",
        "probes": [{"attack": attack, "unit": "rms", "eps": [0.1], "steps": 1}],
        "validity": {"cases": 1, "attack": attack, "large_eps": 5.0, "scaled_eps": 0.1},
    }
    done = audit(tiny_run, prepared_phantom, Plan.model_validate(spec), tmp_path / "a", select=["phantom_005"])
    before, after = done.audit.cases[0].checks.converged
    assert after <= before


def test_another_forward_with_the_same_weights_is_another_model(tmp_path, monkeypatch, prepared_phantom):
    """The author's code belongs to what a resumed audit must share."""
    code = (
        "import torch\nfrom torch import nn\n\nclass Net(nn.Module):\n"
        "    card = {'labels': {1: 'Front', 2: 'Back'}, 'in_channels': 1, 'spatial_dims': 3}\n\n"
        "    def __init__(self):\n        super().__init__()\n        torch.manual_seed(0)\n"
        "        self.layer = nn.Conv3d(1, 3, 1)\n\n"
        "    def forward(self, x):\n        return self.layer(x) * FACTOR\n\n\n"
        "def make():\n    return Net()\n"
    )
    monkeypatch.chdir(tmp_path)
    plan = Plan.model_validate({"name": "p", "probes": [{"attack": "gaussian-noise", "eps": [0.1]}]})
    for factor in (1, 2):
        (tmp_path / "author_net.py").write_text(code.replace("FACTOR", str(factor)))
        sys.modules.pop("author_net", None)
        importlib.invalidate_caches()
        model = load_model("python:author_net:make", trust=True)
        if factor == 1:
            audit(model, prepared_phantom, plan, tmp_path / "a", select=["phantom_005"])
            assert not audit(model, prepared_phantom, plan, tmp_path / "a", select=["phantom_005"], resume=True).failed
            continue
        with pytest.raises(InputError, match=r"got another \(code_sha256\)"):
            audit(model, prepared_phantom, plan, tmp_path / "a", select=["phantom_005"], resume=True)


def test_each_finished_case_gives_an_early_answer(tiny_run, prepared_phantom, tmp_path, capsys):
    spec = {"name": "p", "verify": False, "validity": None, "showcase": {"attack": "pgd", "eps": 0.4}}
    plan = Plan.model_validate(spec | {"probes": [{"attack": "pgd", "unit": "rms", "eps": [0.1, 0.4], "steps": 3}]})
    found = audit(tiny_run, prepared_phantom, plan, tmp_path / "a", announce=_mute).audit
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Case ")]
    for number, line in enumerate(told, start=1):
        pairs = [(r.clean[MEAN]["dice"], r.rows_of(AttackRow)[-1].dice) for r in found.cases[:number]]
        clean, attacked = np.mean(pairs, axis=0)
        said = f"mean Dice so far {clean:.3f} unchanged, {attacked:.3f} under pgd-l2 at 0.4 rms."
        assert line.endswith(f", {number} of {len(found.cases)} cases; {said}")
    assert len(told) == len(found.cases) > 1
