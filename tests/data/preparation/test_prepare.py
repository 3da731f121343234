from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from imaseg.data.cohort.statistics import CohortStatistics
from imaseg.data.layouts.load import load_cases
from imaseg.data.preparation.prepare import prepare
from imaseg.data.preparation.recipe import Recipe, parse_recipe
from imaseg.data.preparation.steps import apply_recipe
from imaseg.data.reading import read_volume
from imaseg.errors import InputError

RECIPE = Recipe(crop_margin=1)


def content(out: Path) -> dict:
    return json.loads((out / "prepare.json").read_text())


def record(out: Path, name: str) -> dict:
    return next(case for case in content(out)["cases"] if case["id"] == name)


def state(folder: Path) -> dict[str, tuple[int, int, int]]:
    files = (p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): (s.st_ino, s.st_mtime_ns, s.st_size) for p in files for s in [p.stat()]}


def test_monai_reads_the_result(raw, tmp_path):
    from monai.data import load_decathlon_datalist

    out = tmp_path / "out"
    summary = prepare(raw, out, RECIPE)
    assert summary.kept == [f"case_{i}" for i in range(6)]
    assert summary.quarantined == summary.flagged == {}
    items = load_decathlon_datalist(out / "dataset.json", True, "training")
    assert len(items) == 6
    image, label = (nib.load(items[0][key]) for key in ("image", "label"))
    assert image.get_data_dtype() == np.float32
    assert label.get_data_dtype() == np.uint8
    assert image.shape == label.shape
    grey = image.get_fdata()
    assert (grey.mean(), grey.std()) == pytest.approx((0, 1), abs=1e-4)
    description = json.loads((out / "dataset.json").read_text())
    assert description["numTraining"] == 6
    assert description["modality"] == {"0": "MRI"}
    assert description["labels"] == {"0": "background", "1": "front", "2": "back"}


def test_the_record_tells_the_whole_story(raw, tmp_path, ball):
    out = tmp_path / "out"
    prepare(raw, out, RECIPE)
    story = content(out)
    assert parse_recipe(story["recipe"], source="x") == RECIPE
    assert story["source"] == str(raw)
    assert story["fingerprint"]["spacing"] == [1.0, 1.0, 1.0]
    assert story["fingerprint"]["shape"] == [14, 16, 12]
    train_volumes = [(ball(radius=4.0 + 0.1 * i) == 1).sum() * 1e-3 for i in range(4)]
    assert story["fingerprint"]["class_volume_ml"]["1"] == pytest.approx(np.median(train_volumes))
    steps = record(out, "case_2")["steps"]
    assert [step["name"] for step in steps] == ["orient", "resample", "crop", "normalise"]
    assert steps[-1]["method"] == "zscore"
    cohort = load_cases(out)
    assert cohort.prepared == story
    assert cohort.split == load_cases(raw).split


def test_the_same_steps_in_memory_give_the_same_voxels(raw, tmp_path):
    out = tmp_path / "out"
    prepare(raw, out, RECIPE)
    statistics = CohortStatistics.from_json(content(out)["fingerprint"])
    volume, steps = apply_recipe(read_volume(load_cases(raw)[4]), RECIPE, statistics)
    stored = read_volume(load_cases(out)[4])
    np.testing.assert_array_equal(stored.image, volume.image)
    np.testing.assert_array_equal(stored.label, volume.label)
    np.testing.assert_allclose(stored.affine, volume.affine)
    assert steps == record(out, "case_4")["steps"]


def _truncate(root, save, ball):
    path = root / "imagesTr" / "case_1.nii.gz"
    path.write_bytes(path.read_bytes()[:500])


def _cut_label(root, save, ball):
    save(root / "labelsTr" / "case_1.nii.gz", ball()[1:])


def _nan(root, save, ball):
    image = ball().astype(np.float32)
    image[2, 2, 2] = np.nan
    save(root / "imagesTr" / "case_1.nii.gz", image)


def _foreign_label(root, save, ball):
    save(root / "labelsTr" / "case_1.nii.gz", ball() * 3)


def _empty_label(root, save, ball):
    save(root / "labelsTr" / "case_1.nii.gz", ball() * 0)


def _gone(root, save, ball):
    (root / "labelsTr" / "case_1.nii.gz").unlink()


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (_truncate, "imagesTr/case_1.nii.gz must be a complete NIfTI file, got an unreadable one"),
        (_cut_label, "labelsTr/case_1.nii.gz must have the shape of imagesTr/case_1.nii.gz"),
        (_nan, "imagesTr/case_1.nii.gz must hold finite numbers, got 1 NaN"),
        (_foreign_label, "labelsTr/case_1.nii.gz must hold the declared labels 0, 1, 2, got 3, 6"),
        (_empty_label, "labelsTr/case_1.nii.gz must mark at least one voxel"),
        (_gone, "labelsTr/case_1.nii.gz must exist, got nothing there"),
    ],
)
def test_a_bad_case_is_set_aside_and_the_rest_goes_on(raw, tmp_path, save, ball, fault, reason):
    fault(raw, save, ball)
    out = tmp_path / "out"
    summary = prepare(raw, out, RECIPE)
    assert list(summary.quarantined) == ["case_1"]
    assert summary.quarantined["case_1"][0].startswith(reason)
    assert str(tmp_path) not in " ".join(summary.quarantined["case_1"])
    assert len(summary.kept) == 5
    assert record(out, "case_1")["status"] == "quarantined"
    assert record(out, "case_1")["steps"] == []
    assert not (out / "imagesTr" / "case_1.nii.gz").exists()
    assert json.loads((out / "split.json").read_text())["train"] == ["case_0", "case_2", "case_3"]
    assert content(out)["removed_from_split"] == {"train": ["case_1"]}
    assert load_cases(out).ids == summary.kept


def test_a_case_with_other_channels_is_set_aside(raw, tmp_path, save, ball, picture):
    save(raw / "imagesTr" / "case_3.nii.gz", np.stack([picture(ball(), s) for s in range(2)], -1))
    summary = prepare(raw, tmp_path / "out", RECIPE)
    assert summary.quarantined == {"case_3": ["case_3 must have 1 channel like most of the cohort, got 2."]}


def test_a_fault_that_only_the_steps_can_find_is_set_aside_too(raw, tmp_path, save, ball):
    save(raw / "imagesTr" / "case_3.nii.gz", (ball() > 0).astype(np.float32) * 7)
    summary = prepare(raw, tmp_path / "out", RECIPE)
    assert summary.quarantined == {"case_3": ["case_3: image must vary in its foreground, got 7 throughout."]}
    assert not (tmp_path / "out" / "imagesTr" / "case_3.nii.gz").exists()


def test_no_fit_case_at_all(raw, tmp_path):
    for path in (raw / "imagesTr").iterdir():
        path.write_bytes(b"")
    with pytest.raises(InputError, match=r"must hold a case fit for use, got 6 unfit ones \(case_0: .*empty file"):
        prepare(raw, tmp_path / "out", RECIPE)
    assert len(content(tmp_path / "out")["cases"]) == 6


def test_the_source_stays_untouched(raw, tmp_path):
    before = state(raw)
    prepare(raw, tmp_path / "out", RECIPE)
    assert state(raw) == before
    for out in (raw, raw / "out", tmp_path):
        with pytest.raises(InputError, match="out must lie outside of the source"):
            prepare(raw, out, RECIPE)
    assert state(raw) == before


def test_a_rerun_touches_nothing(raw, tmp_path):
    out = tmp_path / "out"
    first = prepare(raw, out, RECIPE)
    before = state(out)
    second = prepare(raw, out, RECIPE)
    assert state(out) == before
    assert (len(first.written), second.written) == (6, [])
    assert second.kept == first.kept


def test_a_rerun_does_what_is_missing_or_changed(raw, tmp_path, save, ball, picture):
    out = tmp_path / "out"
    prepare(raw, out, RECIPE)
    (out / "labelsTr" / "case_2.nii.gz").unlink()
    save(raw / "imagesTr" / "case_4.nii.gz", picture(ball(), 99))
    save(raw / "labelsTr" / "case_5.nii.gz", ball() * 0)
    summary = prepare(raw, out, RECIPE)
    assert summary.written == ["case_2", "case_4"]
    assert list(summary.quarantined) == ["case_5"]
    assert not (out / "imagesTr" / "case_5.nii.gz").exists()


def test_a_folder_with_other_content_is_refused(raw, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match=r"out must be empty, or begun from this source .* Choose an empty folder"):
        prepare(raw, out, RECIPE)
    assert [p.name for p in out.iterdir()] == ["thesis.txt"]


def test_another_recipe_needs_another_folder(raw, tmp_path):
    out = tmp_path / "out"
    prepare(raw, out, RECIPE)
    before = state(out)
    with pytest.raises(InputError, match="begun from this source by this recipe"):
        prepare(raw, out, Recipe(spacing=None))
    assert state(out) == before


def test_a_killed_run_leaves_no_half_file_and_resumes(raw, tmp_path):
    """SIGKILL while cases are written; what is there is whole, and the next run ends like an undisturbed one."""
    out = tmp_path / "out"
    code = (
        "import os, signal, sys; from pathlib import Path; import nibabel as nib\n"
        "from imaseg.data.preparation.prepare import prepare; from imaseg.data.preparation.recipe import Recipe\n"
        "save, written = nib.save, []\n"
        "def dying(image, path):\n"
        "    written.append(path)\n"
        "    if len(written) == 6:\n"
        "        Path(path).write_bytes(b'half'); os.kill(os.getpid(), signal.SIGKILL)\n"
        "    save(image, path)\n"
        "nib.save = dying\n"
        "prepare(Path(sys.argv[1]), Path(sys.argv[2]), Recipe(crop_margin=1))\n"
    )
    path = os.pathsep.join(p for p in sys.path if p)
    environment = os.environ | {"PYTHONPATH": path}
    died = subprocess.run([sys.executable, "-c", code, raw, out], env=environment, check=False)
    assert died.returncode == -signal.SIGKILL
    assert not (out / "prepare.json").exists()
    whole = [p for p in out.glob("*Tr/*.nii.gz") if not p.name.startswith(".")]
    assert len(whole) == 5
    for file in whole:
        nib.load(file).get_fdata()
    summary = prepare(raw, out, RECIPE)
    assert summary.written == ["case_2", "case_3", "case_4", "case_5"]
    assert [p.name for p in out.rglob(".[0-9]*")] == []
    fresh = tmp_path / "fresh"
    prepare(raw, fresh, RECIPE)
    assert content(out) == content(fresh)
    for file in fresh.glob("*Tr/*.nii.gz"):
        assert (out / file.relative_to(fresh)).read_bytes() == file.read_bytes()


def test_progress_counts_every_case_twice(raw, tmp_path):
    told = []
    prepare(raw, tmp_path / "out", RECIPE, lambda done, total, what: told.append((done, total, what)))
    assert [done for done, _, _ in told] == list(range(1, 13))
    assert {total for _, total, _ in told} == {12}
    assert (told[0][2], told[-1][2]) == ("checked case_0", "prepared case_5")


def test_ct_is_normalised_by_the_train_split_alone(raw, tmp_path, describe, save, ball):
    ids = [f"case_{i}" for i in range(6)]
    describe(raw, ids, modality={"0": "CT"})
    for i, name in enumerate(ids):
        hu = np.where(ball() > 0, 40.0 + i if i < 4 else 900.0, -1000.0).astype(np.float32)
        save(raw / "imagesTr" / f"{name}.nii.gz", hu)
        save(raw / "labelsTr" / f"{name}.nii.gz", ball())
    prepare(raw, tmp_path / "out", RECIPE)
    step = record(tmp_path / "out", "case_5")["steps"][-1]
    assert step["method"] == "ct"
    assert (step["low"], step["high"]) == (40.0, 43.0)
    assert (step["mean"], step["std"]) == pytest.approx((41.5, np.std([40, 41, 42, 43])))


def test_channels_stay_together(tmp_path, save, ball, picture):
    root = tmp_path / "raw"
    for name in ("a", "b"):
        save(root / "images" / f"{name}.nii.gz", np.stack([picture(ball(), s) for s in (0, 1, 2)], -1))
        save(root / "labels" / f"{name}.nii.gz", ball())
    out = tmp_path / "out"
    prepare(root, out, RECIPE)
    assert nib.load(out / "imagesTr" / "a.nii.gz").shape[3] == 3
    assert [s["channel"] for s in record(out, "a")["steps"] if s["name"] == "normalise"] == [0, 1, 2]
    description = json.loads((out / "dataset.json").read_text())
    assert description["tensorImageSize"] == "4D"
    assert description["labels"] == {"0": "background", "1": "1", "2": "2"}


def test_a_structure_lost_in_resampling_is_flagged(raw, tmp_path, save, ball):
    label = ball()
    label[label == 2] = 0
    label[1, 1, 1] = 2
    save(raw / "labelsTr" / "case_0.nii.gz", label)
    summary = prepare(raw, tmp_path / "out", Recipe(spacing=(2.0, 2.0, 2.0), crop=None))
    assert "label 2 went from 1 to 0 voxels (of native size) in preparation." in summary.flagged["case_0"]


def test_images_without_labels_are_prepared_too(tmp_path, save, ball, picture):
    save(tmp_path / "raw" / "images" / "a.nii.gz", picture(ball()))
    prepare(tmp_path / "raw", tmp_path / "out", RECIPE)
    cohort = load_cases(tmp_path / "out")
    assert cohort[0].label is None
    assert not (tmp_path / "out" / "labelsTr").exists()
