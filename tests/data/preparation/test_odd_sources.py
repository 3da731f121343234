"""Folders as people keep them: links in circles, names that are no text, masks in colour, scaled labels."""

from __future__ import annotations

import json
import os
import sys
import time

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from PIL import Image

from imaseg.cli.prepare import prepare as prepare_by_command
from imaseg.data import invert_file
from imaseg.data.cases import Case
from imaseg.data.cohort.survey import survey_case
from imaseg.data.files import sole_writer, walk
from imaseg.data.formats.checks import same_place
from imaseg.data.formats.nifti import write_nifti
from imaseg.data.formats.read import read_scan
from imaseg.data.formats.scan import on_grid_of
from imaseg.data.layouts.patterns import Layout
from imaseg.data.preparation.prepare import prepare, usual_recipe
from imaseg.data.preparation.recipe import Recipe
from imaseg.data.reading import read_volume
from imaseg.errors import InputError

from ..conftest import ball, picture

AS_IT_IS = Recipe(spacing=None, crop=None)


def test_links_in_circles_are_walked_once(tmp_path, save, ball, picture):
    root = tmp_path / "raw"
    for name in ("a", "b"):
        save(root / name / "x_image.nii.gz", picture(ball(), ord(name)))
        save(root / name / "x_label.nii.gz", ball())
        (root / name / "up").symlink_to(root)
    (root / "a" / "beside").symlink_to(root / "b")
    (root / "b" / "beside").symlink_to(root / "a")
    assert [folder.relative_to(root).as_posix() for folder, _ in walk(root)] == [".", "a", "a/beside", "b", "b/beside"]
    assert usual_recipe(root) == "msd"


@pytest.mark.parametrize("count", [9, 20])
def test_links_between_all_folders_are_refused_at_once(tmp_path, count):
    names = [f"f{number}" for number in range(count)]
    for name in names:
        (tmp_path / "raw" / name).mkdir(parents=True)
        for other in names:
            (tmp_path / "raw" / name / f"to_{other}").symlink_to(tmp_path / "raw" / other)
    begin = time.perf_counter()
    with pytest.raises(InputError, match=r"raw must hold symbolic links that lead to each of its folders a few times"):
        prepare(tmp_path / "raw", tmp_path / "out", AS_IT_IS)
    assert time.perf_counter() - begin < 2


def test_what_many_cases_share_by_links_is_walked_in_each(tmp_path):
    (tmp_path / "raw" / "shared" / "deep" / "er").mkdir(parents=True)
    for number in range(50):
        (tmp_path / "raw" / f"case{number}").mkdir()
        for name in ("a", "b"):
            (tmp_path / "raw" / f"case{number}" / name).symlink_to(tmp_path / "raw" / "shared")
    assert sum(folder.name == "er" for folder, _ in walk(tmp_path / "raw")) == 101


def test_a_folder_that_cannot_be_listed_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone must be a folder that can be listed, got nothing there"):
        list(walk(tmp_path / "gone"))


def test_an_id_may_span_folders(tmp_path, save, ball, picture):
    for name in ("a/1", "a/2", "b/1"):
        save(tmp_path / "raw" / name / "image.nii.gz", picture(ball(), sum(map(ord, name))))
        save(tmp_path / "raw" / name / "seg.nii.gz", ball())
    layout = Layout(("{id:[^/]+/[^/]+}/image.nii.gz",), "{id:[^/]+/[^/]+}/seg.nii.gz")
    summary = prepare(tmp_path / "raw", tmp_path / "out", AS_IT_IS.model_copy(update={"layout": layout}))
    assert summary.kept == ["a_1", "a_2", "b_1"]
    assert (tmp_path / "out" / "imagesTr" / "a_1.nii.gz").is_file()


@pytest.mark.skipif(sys.platform != "linux", reason="only here are names of files any bytes")
def test_names_that_are_no_text_are_kept_and_written(tmp_path, save, ball, picture):
    root = tmp_path / "raw"
    for folder, array in (("images", picture(ball())), ("labels", ball())):
        save(root / folder / "x.nii.gz", array)
        (root / folder / "x.nii.gz").rename(root / folder / os.fsdecode(b"M\xfcller.nii.gz"))
    first = prepare(root, tmp_path / "out", AS_IT_IS)
    assert first.kept == [os.fsdecode(b"M\xfcller")]
    assert json.loads((tmp_path / "out" / "prepare.json").read_text())["cases"][0]["id"] == first.kept[0]
    assert prepare(root, tmp_path / "out", AS_IT_IS).written == []


def test_suffixes_in_capitals(tmp_path, save, ball, picture):
    save(tmp_path / "x.nii.gz", picture(ball())).rename(tmp_path / "X.NII.GZ")
    assert read_scan(tmp_path / "X.NII.GZ").data.shape == ball().shape


@pytest.mark.parametrize("channels", [1, 3])
def test_masks_in_colour_are_refused_in_a_sentence(tmp_path, channels):
    grey = np.random.default_rng(0).integers(0, 255, (20, 22, channels), np.uint8)
    Image.fromarray(grey[..., 0] if channels == 1 else grey).save(tmp_path / "i.png")
    mask = np.zeros((20, 22, 3), np.uint8)
    mask[5:9, 5:9, 0] = mask[5:9, 12:15, 1] = 255
    Image.fromarray(mask).save(tmp_path / "l.png")
    (reason,) = survey_case(Case("a", (tmp_path / "i.png",), tmp_path / "l.png"), None).reasons
    assert "l.png must hold one label number per voxel, got 3 (colours, or masks). If they mark one structure" in reason
    assert "label_threshold: 128" in reason


def test_labels_that_scaling_missed_by_a_hair_are_whole(tmp_path, save, ball, picture):
    """Some software stores labels as bytes with a slope, of which 2 comes back as 1.9999999."""
    save(tmp_path / "i.nii", picture(ball()))
    save(tmp_path / "l.nii", ball() * np.uint8(127))
    content = bytearray((tmp_path / "l.nii").read_bytes())
    content[112:116] = np.float32(2 / 254.0001).tobytes()
    (tmp_path / "l.nii").write_bytes(content)
    assert nib.load(tmp_path / "l.nii").get_fdata().max() < 2
    case = Case("a", (tmp_path / "i.nii",), tmp_path / "l.nii")
    assert survey_case(case, {0: "background", 1: "front", 2: "back"}).reasons == []
    np.testing.assert_array_equal(read_volume(case).label, ball())


@pytest.mark.parametrize("degrees", [45, 135, -45])
def test_halfway_between_two_axes_label_and_image_stay_together(tmp_path, save, ball, degrees):
    """The nearest axis of the world is a matter of rounding there, and may be another for image and label."""
    label = ball((14, 18, 12))
    scans = []
    for tilt in (-1e-4, 0, 1e-4):
        turn, affine = np.radians(degrees + tilt), np.eye(4)
        affine[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
        scans.append(read_scan(save(tmp_path / f"{tilt}.nii", label, affine)))
    for image in scans:
        for scan in scans:
            placed = on_grid_of(scan, image)
            np.testing.assert_array_equal(placed.data, label)
            assert same_place(placed, image) == []


def test_a_second_process_is_kept_out(raw, tmp_path):
    pytest.importorskip("fcntl")
    busy = pytest.raises(InputError, match="one process at a time, got another at it")
    with sole_writer(tmp_path / "out" / ".prepare"), busy:
        prepare(raw, tmp_path / "out", AS_IT_IS)
    assert len(prepare(raw, tmp_path / "out", AS_IT_IS).kept) == 6


def test_a_prediction_saved_as_floating_point_is_a_label(raw, tmp_path):
    """MONAI's writers save float32 unless told otherwise."""
    out = tmp_path / "out"
    prepare(raw, out, Recipe(spacing=(1.3, 1.3, 1.3)))
    label = nib.load(out / "labelsTr" / "case_1.nii.gz")
    write_nifti(tmp_path / "p.nii.gz", np.asarray(label.dataobj, np.float32), label.affine)
    backs = [
        nib.load(invert_file(file, out, "case_1", tmp_path / name))
        for file, name in ((tmp_path / "p.nii.gz", "a.nii.gz"), (out / "labelsTr" / "case_1.nii.gz", "b.nii.gz"))
    ]
    assert backs[0].get_data_dtype() == np.uint8
    np.testing.assert_array_equal(*(np.asarray(back.dataobj) for back in backs))


@pytest.mark.parametrize("out", ["file/x", "file"])
def test_an_output_that_cannot_be_is_one_line_and_exit_code_2(raw, tmp_path, monkeypatch, capsys, out):
    from imaseg.cli.main import run

    (tmp_path / "file").write_text("x")
    monkeypatch.setattr(sys, "argv", ["imaseg", "prepare", str(raw), str(tmp_path / out)])
    with pytest.raises(SystemExit) as stop:
        run()
    assert stop.value.code == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert (tmp_path / "file").read_text() == "x"


def test_gaps_in_labels_come_with_the_map_that_closes_them(tmp_path, save, ball, picture):
    for i in range(2):
        save(tmp_path / "raw" / "images" / f"{i}.nii.gz", picture(ball(), i))
        save(tmp_path / "raw" / "labels" / f"{i}.nii.gz", ball() * np.uint8(3))
    with pytest.raises(InputError, match=r"got 3 but no 1.*label_map: \{3: 1, 6: 2\}"):
        prepare(tmp_path / "raw", tmp_path / "out", AS_IT_IS, layout="nnunet")
    mapped = AS_IT_IS.model_copy(update={"label_map": {3: 1, 6: 2}})
    assert len(prepare(tmp_path / "raw", tmp_path / "mapped", mapped, layout="nnunet").kept) == 2
    some = AS_IT_IS.model_copy(update={"label_map": {3: 5}})
    with pytest.raises(InputError, match=r"got 5 but no 1.*label_map: \{3: 1, 5: 1, 6: 2\}"):
        prepare(tmp_path / "raw", tmp_path / "some", some, layout="nnunet")


def test_a_recipe_of_another_data_set_is_told_by_its_pattern(raw, tmp_path):
    layout = Layout(("{id:Case.*}/ct.nii.gz",))
    with pytest.raises(InputError, match=r"raw must hold files that match '\{id:Case.*/ct.nii.gz', as the recipe says"):
        prepare(raw, tmp_path / "out", AS_IT_IS.model_copy(update={"layout": layout}))


@pytest.mark.skipif(sys.platform != "linux", reason="such names need a file system of Linux")
@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".png"])
def test_long_names_and_names_that_a_terminal_would_obey(tmp_path, suffix, capsys):
    names = ["x" * 243, "line\nbreak \x1b[2J", os.fsdecode(b"M\xfcller"), "broken\nname"]
    for i, name in enumerate(names):
        for folder, array in (("images", picture(ball(), i)), ("labels", ball())):
            path = tmp_path / "raw" / folder / f"a{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            if suffix == ".nii.gz":
                nib.save(nib.Nifti1Image(array, np.eye(4)), path)
            elif suffix == ".png":
                Image.fromarray(array[:, :, 6].astype(np.uint8)).save(path)
            else:
                SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array), str(path))
            if name.startswith("broken"):
                path.write_bytes(path.read_bytes()[:50])
            path.rename(path.with_name(name + suffix))
    how = {"recipe": None, "config": None, "layout": "msd", "workers": 1, "download": False}
    code = prepare_by_command(tmp_path / "raw", tmp_path / "out", **how)
    lines = capsys.readouterr().out.splitlines()
    assert code == 1
    aside = [line.split(": ")[0] for line in lines if line.startswith("quarantined")]
    by_itk = ["quarantined M\\udcfcller"] if suffix == ".nrrd" else []  # takes names of UTF-8 only
    assert aside == [*by_itk, "quarantined broken\\nname"]
    assert not any("\x1b" in line for line in lines)
    done = json.loads((tmp_path / "out" / "prepare.json").read_text())
    assert {case["id"]: case["status"] for case in done["cases"]}["x" * 243] == "ok"


def test_names_too_long_for_the_files_to_write_are_refused(tmp_path, ball, picture):
    for folder, array in (("images", picture(ball())), ("labels", ball())):
        (tmp_path / "raw" / folder).mkdir(parents=True)
        Image.fromarray(array[:, :, 6].astype(np.uint8)).save(tmp_path / "raw" / folder / f"{'x' * 250}.png")
    with pytest.raises(InputError, match=r"case ids must have 243 bytes at most, got 250 in xxx.*Rename its files\."):
        prepare(tmp_path / "raw", tmp_path / "out", AS_IT_IS)
