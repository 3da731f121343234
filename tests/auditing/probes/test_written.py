"""Attacked cases on disk (`imaseg attack`), judged from the files with nibabel and arithmetic of the tests' own."""

from __future__ import annotations

import csv
import gzip
import hashlib
import shutil

import nibabel as nib
import numpy as np
import pytest
import torch

from imaseg import L2, PGD, InputError, audit, load_cases, load_model
from imaseg.auditing.inputs.source import CaseSource
from imaseg.auditing.plan import Plan
from imaseg.auditing.shortcuts import attack_plan
from imaseg.data.reading import read_volume
from imaseg.models.run_folder import build_model
from imaseg.models.segmentation import SegmentationModel
from imaseg.runs import TrainConfig, train

CASES = ("phantom_005", "phantom_006")
EPS = 0.04


def settings(eps, perturbation="l2", **more):
    return attack_plan("pgd", perturbation, eps, **more)


RMS = settings(EPS, unit="rms", steps=5)


def attacked(model, data, out, plan=RMS, **more):
    return audit(model, data, plan, out, **{"select": list(CASES)} | more)


def found(done):
    """The one row of every case."""
    return {record.case: record.rows[0] for record in done.audit.cases}


def mean(row):
    """Mean Dice of every stage of the written files."""
    return row.written.dice["foreground_mean"]


def voxels(path):
    return np.asarray(nib.load(path).dataobj)


def dice_of(found, label, k):
    both = np.logical_and(found == k, label == k).sum()
    return 2 * both / ((found == k).sum() + (label == k).sum())


def table(out):
    """Values of `cases.csv` by case, class and metric, clean ones left out."""
    with (out / "cases.csv").open() as file:
        return {
            (row["case"], row["class"], row["metric"]): float(row["value"])
            for row in csv.DictReader(file)
            if row["probe"] != "clean"
        }


@pytest.fixture(scope="module")
def able_run(prepared_phantom, tmp_path_factory):
    """A model good enough to be worth attacking."""
    config = TrainConfig(
        network={"name": "UNet", "channels": [8, 16], "strides": [2], "num_res_units": 0, "norm": "instance"},
        patch=[24, 24, 16],
        epochs=60,
        learning_rate=0.01,
    )
    return train(config, prepared_phantom, tmp_path_factory.mktemp("runs") / "able")


@pytest.fixture(scope="module")
def same_spacing(raw_phantom, able_run, tmp_path_factory):
    """Raw phantoms on the voxel size of the model, so that nothing is resampled; headers of several kinds."""
    root = shutil.copytree(raw_phantom, tmp_path_factory.mktemp("exact") / "raw")
    spacing = load_model(able_run).card.fingerprint["spacing"]
    for folder in ("imagesTr", "labelsTr"):
        for path in (root / folder).iterdir():
            image = nib.load(path)
            affine = image.affine @ np.diag([*np.array(spacing) / image.header.get_zooms()[:3], 1.0])
            turned = nib.Nifti1Image(np.asarray(image.dataobj), affine)
            turned.set_sform(affine, code=4)
            turned.set_qform(affine, code=1)
            turned.header["descrip"] = b"scanner 3, sequence 7"
            nib.save(turned, path)
    return root


@pytest.fixture(scope="module")
def exact(able_run, same_spacing, tmp_path_factory):
    return attacked(able_run, same_spacing, tmp_path_factory.mktemp("attack") / "exact")


@pytest.fixture(scope="module")
def resampled(able_run, raw_phantom, tmp_path_factory):
    return attacked(able_run, raw_phantom, tmp_path_factory.mktemp("attack") / "resampled")


def test_the_promised_files_are_there_and_only_they(exact):
    names = {str(path.relative_to(exact.folder)) for path in exact.folder.rglob("*") if path.is_file()}
    folders = ("images", "predictions", "clean_predictions")
    volumes = {f"{folder}/{case}.nii.gz" for folder in folders for case in CASES}
    records = {f"cases/{case}.{kind}" for case in CASES for kind in ("json", "npz")}
    assert names == volumes | records | {"cases.csv", "summary.json", "run.json", "report.html"}
    assert exact.failed == []


@pytest.mark.parametrize("kind", ["exact", "resampled"])
def test_the_header_is_that_of_the_source_to_the_last_bit(kind, request, same_spacing, raw_phantom):
    done, source = request.getfixturevalue(kind), same_spacing if kind == "exact" else raw_phantom
    for case in CASES:
        before, after = (folder / f"{case}.nii.gz" for folder in (source / "imagesTr", done.folder / "images"))
        assert gzip.decompress(before.read_bytes())[:352] == gzip.decompress(after.read_bytes())[:352]
        assert (voxels(before) != voxels(after)).any()
        for folder in ("predictions", "clean_predictions"):
            found = nib.load(done.folder / folder / f"{case}.nii.gz")
            assert found.shape == nib.load(before).shape
            assert found.get_data_dtype() == np.uint8
            np.testing.assert_array_equal(found.affine, nib.load(before).affine)
            for code in ("sform_code", "qform_code"):
                assert found.header[code] == nib.load(before).header[code]


@pytest.mark.parametrize("kind", ["exact", "resampled"])
def test_the_table_agrees_with_the_written_files(kind, request, raw_phantom):
    done = request.getfixturevalue(kind)
    for case in CASES:
        label = voxels(raw_phantom / "labelsTr" / f"{case}.nii.gz")
        for k in (1, 2):
            values = {metric: value for (c, s, metric), value in table(done.folder).items() if (c, s) == (case, str(k))}
            for column, folder in (("dice_clean_native", "clean_predictions"), ("dice_reread_native", "predictions")):
                written = voxels(done.folder / folder / f"{case}.nii.gz")
                assert values[column] == pytest.approx(dice_of(written, label, k), abs=1e-9)
            assert values["dice_clean"] == pytest.approx(values["dice_clean_native"], abs=0.08)
            assert values["dice_attacked"] == values["dice"]


def test_without_resampling_the_attack_is_in_the_file(exact):
    for row in found(exact).values():
        dice = mean(row)
        assert dice["attacked"] < dice["clean"] - 0.05
        assert dice["reread"] == pytest.approx(dice["attacked"], abs=0.02)
        assert dice["clean_native"] == pytest.approx(dice["clean"], abs=1e-6)
        assert dice["reread_native"] == pytest.approx(dice["reread"], abs=1e-6)
        assert row.written.astray < 0.1


def test_the_change_in_the_file_is_no_larger_than_the_budget(exact, same_spacing):
    for record in exact.audit.cases:
        (row,) = record.rows
        before, after = (
            voxels(folder / f"{record.case}.nii.gz").astype(np.float64)
            for folder in (same_spacing / "imagesTr", exact.folder / "images")
        )
        deviation = before[before != 0].std()
        inside = round((row.sizes["l2"] / row.sizes["rms"]) ** 2)
        size = np.sqrt(((after - before) ** 2).sum() / inside) / deviation
        assert size <= EPS * 1.001 + 0.3 / deviation
        assert size > 0.9 * EPS
        assert record.scale.native == pytest.approx(deviation, rel=1e-5)
        assert row.sizes["rms_native"] == pytest.approx(row.sizes["rms"] * deviation, rel=1e-5)


def test_air_and_what_was_cropped_away_stay_bitwise_what_they_were(exact, resampled, same_spacing, raw_phantom):
    for done, source in ((exact, same_spacing), (resampled, raw_phantom)):
        for case in CASES:
            before, after = (
                voxels(folder / f"{case}.nii.gz") for folder in (source / "imagesTr", done.folder / "images")
            )
            assert (before == 0).mean() > 0.1
            assert not after[before == 0].any()


def test_an_attack_survives_another_voxel_size_and_axes_and_what_is_lost_is_said(resampled, raw_phantom):
    codes = {nib.aff2axcodes(nib.load(path).affine) for path in (raw_phantom / "imagesTr").iterdir()}
    assert codes == {("R", "A", "S"), ("L", "P", "S")}
    notes = {}
    for case, row in found(resampled).items():
        dice = mean(row)
        assert dice["reread"] < dice["clean"] - 0.05
        gap = dice["reread"] - dice["attacked"]
        assert bool(row.written.note) == (abs(gap) > 0.005)
        if row.written.note:
            notes[case] = row.written.note
            assert row.written.note.startswith(f"{gap:+.3f} in the file: ")
        assert 0.01 < row.written.astray < 0.9
        assert row.written.sizes_reread["rms"] < EPS * 1.1
    (entry,) = resampled.audit.summary.probes
    assert entry.written["differ_in_the_file"] == notes


def test_prepared_cases_give_the_numbers_of_a_direct_attack(able_run, prepared_phantom, tmp_path):
    said = []
    done = attacked(able_run, prepared_phantom, tmp_path / "a", announce=said.append)
    assert any("is prepared: images are written on its grid and in its intensities" in text for text in said)
    assert any(text.startswith("2 cases (chosen), plan attack: at most about") for text in said)
    model = load_model(able_run)
    for record in done.audit.cases:
        (row,) = record.rows
        volume = read_volume(load_cases(prepared_phantom).select([record.case])[0])
        image, label = torch.from_numpy(volume.image)[None], torch.from_numpy(volume.label)[None]
        result = PGD(L2(EPS, unit="rms"), steps=5, seed=0)(model, image, label)
        dice = mean(row)
        assert dice["attacked"] == pytest.approx(result.foreground_dice.item(), abs=1e-6)
        assert dice["reread"] == pytest.approx(dice["attacked"], abs=1e-3)
        written = voxels(done.folder / "images" / f"{record.case}.nii.gz")
        np.testing.assert_allclose(written, result.image[0, 0].numpy(), atol=1e-5)
        assert row.free == 1
        assert (row.forward_calls, row.backward_calls) == (result.forward_calls, result.backward_calls)


def test_a_record_holds_what_a_replay_needs(exact):
    for record in exact.audit.cases:
        (row,) = record.rows
        assert (row.probe, row.eps, row.eps_set) == ("pgd-l2", EPS, pytest.approx(EPS))
        assert row.size == pytest.approx(EPS, rel=1e-4)
        inputs = {"l2", "rms", "linf", "range"}
        assert row.sizes.keys() == inputs | {f"{size}_{u}" for size in ("rms", "linf") for u in ("std", "native")}
        assert row.objective > row.objective_clean
        assert row.backward_calls == 5
        assert row.zero_gradients < 0.5
        assert row.nonfinite_gradients == 0
        for name, digest in record.files.items():
            assert hashlib.sha256((exact.folder / name).read_bytes()).hexdigest() == digest
        folders = {name.partition("/")[0] for name in record.files}
        assert folders == {"images", "predictions", "clean_predictions", "cases"}
    run, (entry,) = exact.audit.run, exact.audit.summary.probes
    asked = {"attack": "pgd", "perturbation": "l2", "unit": "rms", "eps": [EPS], "steps": 5, "write": "nifti"}
    assert asked.items() <= run.plan["probes"][0].items()
    assert (entry.attack, entry.unit, entry.steps, entry.restarts, entry.seed) == ("pgd", "rms", 5, 1, 0)
    assert len(run.model.sha256) == 64
    assert {"torch", "monai", "python"} <= run.versions.keys()
    for stage, value in entry.written["dice"]["foreground_mean"].items():
        values = [table(exact.folder)[case, "foreground_mean", f"dice_{stage}"] for case in CASES]
        assert value == pytest.approx(sum(values) / 2)


def test_no_budget_leaves_every_voxel_alone(able_run, raw_phantom, tmp_path):
    for i, kind in enumerate(("l2", "deformation", "gamma")):
        done = attacked(able_run, raw_phantom, tmp_path / str(i), settings(0.0, kind, steps=2))
        for case in CASES:
            name = f"{case}.nii.gz"
            before, after = (
                gzip.decompress((folder / name).read_bytes())
                for folder in (raw_phantom / "imagesTr", done.folder / "images")
            )
            assert before == after
        for row in found(done).values():
            assert mean(row)["reread"] == pytest.approx(mean(row)["clean"], abs=1e-6)
            assert row.written.note == ""


def as_type(source, target, dtype, factor=1.0):
    shutil.copytree(source, target)
    for path in (target / "imagesTr").iterdir():
        image = nib.load(path)
        data = np.asarray(image.dataobj, np.float64)
        data = np.rint(data / data.max() * factor) if factor != 1 else data
        image.header.set_data_dtype(dtype)
        nib.save(nib.Nifti1Image(data.astype(dtype), image.affine, image.header), path)
    return target


def test_an_attack_that_dies_in_rounding_is_said_to_be_dead(able_run, same_spacing, tmp_path):
    data = as_type(same_spacing, tmp_path / "raw", np.uint8, factor=60)
    done = attacked(able_run, data, tmp_path / "a", settings(0.02, "linf", steps=3))
    for record in done.audit.cases:
        (row,) = record.rows
        assert 0.02 * record.scale.native < 0.5
        assert row.written.note == "lost in the file: no voxel changed, rounding to uint8"
        before, after = (
            voxels(folder / f"{record.case}.nii.gz") for folder in (data / "imagesTr", done.folder / "images")
        )
        np.testing.assert_array_equal(before, after)
        assert mean(row)["reread"] == pytest.approx(mean(row)["clean"], abs=1e-6)


def test_coarse_rounding_is_named_as_the_cause(able_run, same_spacing, tmp_path):
    data = as_type(same_spacing, tmp_path / "raw", np.uint8, factor=6)
    done = attacked(able_run, data, tmp_path / "a", RMS)
    rows = found(done).values()
    assert any("rounding to uint8" in row.written.note for row in rows)
    for row in rows:
        assert row.written.images[0].error > 0.3
        assert row.written.images[0].dtype == "uint8"


def test_float_files_stay_float_and_hold_all(able_run, same_spacing, tmp_path):
    data = as_type(same_spacing, tmp_path / "raw", np.float32)
    done = attacked(able_run, data, tmp_path / "a", RMS)
    for case, row in found(done).items():
        assert voxels(done.folder / "images" / f"{case}.nii.gz").dtype == np.float32
        assert row.written.images[0].error < 1e-3
        assert mean(row)["reread"] == pytest.approx(mean(row)["attacked"], abs=0.02)


def body(root, case):
    data = voxels(root / "imagesTr" / f"{case}.nii.gz").astype(np.float64)
    return data[data != 0]


@pytest.mark.parametrize("kind", ["linf", "l2"])
def test_native_units_and_shares_of_the_range_are_what_one_computes_by_hand(able_run, same_spacing, tmp_path, kind):
    native = settings(2.0, kind, unit="native", steps=2)
    share = settings(0.002, kind, unit="range", steps=2)
    ones = attacked(able_run, same_spacing, tmp_path / "a", native)
    others = attacked(able_run, same_spacing, tmp_path / "b", share)
    for (case, one), other in zip(found(ones).items(), found(others).values(), strict=True):
        tissue = body(same_spacing, case)
        assert one.eps_set == pytest.approx(2.0 / tissue.std(), rel=1e-5)
        assert other.eps_set == pytest.approx(0.002 * tissue.max() / tissue.std(), rel=1e-5)  # air is 0
        change = np.subtract(
            *(
                voxels(folder / f"{case}.nii.gz").astype(np.float64)
                for folder in (ones.folder / "images", same_spacing / "imagesTr")
            )
        )
        if kind == "linf":
            assert np.abs(change).max() <= 2.5
            assert np.abs(change).max() >= 1.5
        assert one.sizes["rms_native" if kind == "l2" else "linf_native"] == pytest.approx(2.0, rel=1e-3)


def test_a_search_keeps_to_what_clipping_leaves(able_run, raw_phantom, tmp_path):
    model = load_model(able_run)
    model.card.recipe = model.card.recipe | {"normalise": "percentile", "spacing": None}
    done = attacked(model, raw_phantom, tmp_path / "a", settings(0.03, unit="rms", steps=5))
    source = CaseSource(load_cases(raw_phantom).select(CASES), model.card)
    for case in load_cases(raw_phantom).select(CASES):
        row, clean = found(done)[case.id], source.load(case).volume.image
        assert 0.3 < row.free < 0.99
        assert row.free == pytest.approx(((clean > 0) & (clean < 1)).mean())
        assert row.written.astray < 0.25
        assert mean(row)["reread"] == pytest.approx(mean(row)["attacked"], abs=0.05)


def test_a_deformation_moves_image_and_label_and_counts_in_millimetres(able_run, raw_phantom, tmp_path):
    done = attacked(able_run, raw_phantom, tmp_path / "a", settings(2.0, "deformation", steps=4))
    assert done.audit.summary.probes[0].unit == "mm"
    for case, row in found(done).items():
        assert row.size <= 2.0 * (1 + 1e-6)
        name = f"{case}.nii.gz"
        before, moved = (voxels(f / name) for f in (raw_phantom / "labelsTr", done.folder / "labels"))
        assert 0 < (before != moved).mean() < 0.2
        assert set(np.unique(moved)) == {0, 1, 2}
        np.testing.assert_array_equal(nib.load(done.folder / "labels" / name).affine, nib.load(
            raw_phantom / "imagesTr" / name).affine)  # fmt: skip
        decided = voxels(done.folder / "predictions" / name)
        by_hand = sum(dice_of(decided, moved, k) for k in (1, 2)) / 2
        assert mean(row)["reread_native"] == pytest.approx(by_hand, abs=1e-9)
        assert mean(row)["reread"] == pytest.approx(mean(row)["attacked"], abs=0.1)


def test_a_killed_run_goes_on_and_does_nothing_twice(able_run, raw_phantom, resampled, tmp_path):
    out = shutil.copytree(resampled.folder, tmp_path / "a")
    (out / "cases" / f"{CASES[1]}.json").unlink()
    (out / "cases.csv").unlink()
    kept = [out / "cases" / f"{CASES[0]}.json", out / "images" / f"{CASES[0]}.nii.gz"]
    times = [path.stat().st_mtime_ns for path in kept]
    with pytest.raises(InputError, match="got one with an audit in it. Add --resume"):
        attacked(able_run, raw_phantom, out)
    said = []
    attacked(able_run, raw_phantom, out, resume=True, announce=said.append)
    assert said[0].endswith("as before.")  # the number of threads
    assert said[1].startswith("2 cases (chosen), plan attack, 1 of them left: at most about")
    assert [path.stat().st_mtime_ns for path in kept] == times
    assert (out / "cases.csv").read_text() == (resampled.folder / "cases.csv").read_text()
    name = f"images/{CASES[1]}.nii.gz"
    assert (out / name).read_bytes() == (resampled.folder / name).read_bytes()


def test_a_record_without_its_files_is_not_trusted(able_run, raw_phantom, resampled, tmp_path):
    out = shutil.copytree(resampled.folder, tmp_path / "a")
    (out / "images" / f"{CASES[0]}.nii.gz").unlink()
    attacked(able_run, raw_phantom, out, resume=True)
    assert (out / "images" / f"{CASES[0]}.nii.gz").is_file()


def test_a_case_that_fails_is_listed_and_leaves_nothing_behind(able_run, raw_phantom, tmp_path, monkeypatch):
    load = CaseSource.unjudged

    def refuse(self, case):
        if case.id == CASES[0] and "images/" in str(case.image[0]):
            msg = "phantom_005: unreadable after all."
            raise InputError(msg)
        return load(self, case)

    monkeypatch.setattr(CaseSource, "unjudged", refuse)
    done = attacked(able_run, raw_phantom, tmp_path / "a")
    assert [(one.case, one.reason) for one in done.failed] == [(CASES[0], "phantom_005: unreadable after all.")]
    assert [record.case for record in done.audit.cases] == [CASES[1]]
    assert not list(tmp_path.rglob(f"*{CASES[0]}*"))
    assert done.audit.run.failed == done.failed


def two_channels(root, *, together):
    """Cases of two channels, in a file each or in one."""
    rng = np.random.default_rng(0)
    affine = np.diag([1.0, 1.0, 1.5, 1.0])
    for name in ("a", "b"):
        label = np.zeros((12, 10, 8), np.uint8)
        label[3:7, 3:7, 2:6] = 1
        channels = [(100 + 50 * label + rng.normal(0, 9, label.shape)).astype(np.float32) for _ in range(2)]
        files = {name: np.stack(channels, -1)} if together else {f"{name}_{i:04d}": c for i, c in enumerate(channels)}
        for stem, array in files.items():
            (root / "imagesTr").mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(array, affine), root / "imagesTr" / f"{stem}.nii.gz")
        (root / "labelsTr").mkdir(exist_ok=True)
        nib.save(nib.Nifti1Image(label, affine), root / "labelsTr" / f"{name}.nii.gz")
    return root


@pytest.mark.parametrize("together", [True, False])
def test_every_channel_goes_back_into_its_file(able_run, tmp_path, together):
    data = two_channels(tmp_path / "raw", together=together)
    card = load_model(able_run).card.model_copy(deep=True)
    card.in_channels = 2
    card.fingerprint |= {"modality": ["T1", "T2"], "intensity": [{}, {}], "spacing": [1.0, 1.0, 1.5]}
    torch.manual_seed(0)
    model = build_model(card).eval()
    done = audit(model, data, settings(0.1, unit="rms", steps=2), tmp_path / "a", select="all")
    names = ["a", "b"] if together else ["a_0000", "a_0001", "b_0000", "b_0001"]
    assert sorted(path.name for path in (done.folder / "images").iterdir()) == [f"{name}.nii.gz" for name in names]
    for name in names:
        before, after = (voxels(f / f"{name}.nii.gz") for f in (data / "imagesTr", done.folder / "images"))
        assert before.shape == after.shape
        changed = (before != after).reshape(12, 10, 8, -1).mean((0, 1, 2))
        assert (changed > 0.9).all()
    assert all(record.scale.native is None for record in done.audit.cases)
    for row in found(done).values():
        assert row.written.astray < 0.05
        assert mean(row)["reread"] == pytest.approx(mean(row)["attacked"], abs=0.02)
    again = settings(1.0, unit="native")
    with pytest.raises(InputError, match="unit 'native' must have one native unit per case"):
        audit(model, data, again, tmp_path / "b", select="all")
    assert not (tmp_path / "b").exists()


def test_flipped_axes_without_resampling_are_no_obstacle(able_run, raw_phantom, tmp_path):
    model = load_model(able_run)
    model.card.recipe = model.card.recipe | {"spacing": None}
    plan = Plan.model_validate(
        {
            "name": "x",
            "probes": [{"attack": "fgsm", "unit": "rms", "eps": [0.1]}],
            "showcase": {"attack": "fgsm", "eps": 0.1},
        }
    )
    assert audit(model, raw_phantom, plan, tmp_path / "a", select="all").failed == []


class _Contrast(torch.nn.Module):
    """Bright is one class, dark the other: bad, but nowhere without a gradient."""

    def forward(self, image):
        return torch.cat([0.5 - image.abs(), image, -image], dim=1)


@pytest.mark.data
def test_hippocampi_are_attacked_in_their_own_files(able_run, real_data, tmp_path):
    card = load_model(able_run).card.model_copy(update={"label_map": {1: 1, 2: 2}})  # called otherwise in these data
    model = SegmentationModel(_Contrast(), card)
    model.register_parameter("place", torch.nn.Parameter(torch.zeros(1)))
    root = real_data / "Task04_Hippocampus"
    ids = ["hippocampus_017", "hippocampus_033"]
    done = audit(model, root, settings(0.05, unit="rms", steps=3), tmp_path / "a", select=ids)
    assert done.failed == []
    for case, dtype in zip(ids, (np.float32, np.uint8), strict=True):
        before, after = (root / "imagesTr" / f"{case}.nii.gz", done.folder / "images" / f"{case}.nii.gz")
        assert gzip.decompress(before.read_bytes())[:352] == gzip.decompress(after.read_bytes())[:352]
        assert voxels(after).dtype == dtype
        assert (voxels(before) != voxels(after)).any()
        assert np.abs(voxels(before).astype(float) - voxels(after)).max() < 0.2 * np.ptp(voxels(before))
