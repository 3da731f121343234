"""What `prepare` writes besides volumes: nnU-Net's layout, the contact sheet, label names, what is flagged."""

from __future__ import annotations

import base64
import io
import json
import re

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from imaseg.data.layouts.load import load_cases
from imaseg.data.preparation.prepare import prepare, usual_recipe
from imaseg.data.preparation.recipe import Recipe, load_recipe
from imaseg.data.reading import read_volume
from imaseg.errors import InputError

AS_IT_IS = load_recipe("convert")


@pytest.fixture
def two_channels(tmp_path, save, ball, picture):
    root = tmp_path / "raw"
    for name in ("a", "b"):
        save(root / "images" / f"{name}.nii.gz", np.stack([picture(ball(), s) for s in (0, ord(name))], -1))
        save(root / "labels" / f"{name}.nii.gz", ball())
    (root / "split.json").write_text(json.dumps({"train": ["a"], "val": ["b"]}))
    return root


def test_nnunet_gets_a_file_per_channel_and_its_own_description(two_channels, tmp_path):
    out = tmp_path / "nnUNet_raw" / "Dataset001_Balls"
    recipe = AS_IT_IS.model_copy(update={"labels": {1: "front", 2: "back"}, "modality": ("T1", "T2")})
    prepare(two_channels, out, recipe, layout="nnunet")
    assert sorted(path.name for path in (out / "imagesTr").iterdir()) == [
        "a_0000.nii.gz", "a_0001.nii.gz", "b_0000.nii.gz", "b_0001.nii.gz",
    ]  # fmt: skip
    assert json.loads((out / "dataset.json").read_text()) == {
        "name": "raw",
        "channel_names": {"0": "T1", "1": "T2"},
        "labels": {"background": 0, "front": 1, "back": 2},
        "numTraining": 2,
        "file_ending": ".nii.gz",
    }
    assert json.loads((out / "splits_final.json").read_text()) == [{"train": ["a"], "val": ["b"]}]
    raw = nib.load(two_channels / "images" / "b.nii.gz")
    for channel in (0, 1):
        done = nib.load(out / "imagesTr" / f"b_{channel:04d}.nii.gz")
        assert done.ndim == 3
        np.testing.assert_array_equal(done.get_fdata(), raw.get_fdata()[..., channel])
        np.testing.assert_array_equal(done.affine, raw.affine)
    again = load_cases(out)
    assert again.ids == ["a", "b"]
    assert len(read_volume(again[0]).image) == 2


def test_nnunet_labels_must_have_no_gaps(two_channels, tmp_path, save, ball):
    for name in ("a", "b"):
        save(two_channels / "labels" / f"{name}.nii.gz", ball() * 2)
    with pytest.raises(InputError, match=r"without gaps for nnU-Net, got 2 but no 1. Renumber them.* \{2: 1, 4: 2\}"):
        prepare(two_channels, tmp_path / "out", AS_IT_IS, layout="nnunet")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".prepare"]
    mapped = AS_IT_IS.model_copy(update={"label_map": {2: 1, 4: 2}})
    prepare(two_channels, tmp_path / "out", mapped, layout="nnunet")
    assert set(np.unique(read_volume(load_cases(tmp_path / "out")[0]).label)) == {0, 1, 2}


def test_another_layout_needs_another_folder(two_channels, tmp_path):
    prepare(two_channels, tmp_path / "out", AS_IT_IS)
    with pytest.raises(InputError, match="out must be empty"):
        prepare(two_channels, tmp_path / "out", AS_IT_IS, layout="nnunet")


def test_a_rerun_in_nnunets_layout_touches_nothing(two_channels, tmp_path):
    first = prepare(two_channels, tmp_path / "out", AS_IT_IS, layout="nnunet")
    second = prepare(two_channels, tmp_path / "out", AS_IT_IS, layout="nnunet")
    assert (len(first.written), second.written) == (2, [])
    (tmp_path / "out" / "imagesTr" / "a_0001.nii.gz").unlink()
    assert prepare(two_channels, tmp_path / "out", AS_IT_IS, layout="nnunet").written == ["a"]


def test_labels_are_merged_and_named(raw, tmp_path, ball):
    recipe = Recipe(label_map={2: 1}, labels={1: "whole"}, spacing=None)
    prepare(raw, tmp_path / "out", recipe)
    cohort = load_cases(tmp_path / "out")
    assert cohort.labels == {0: "background", 1: "whole"}
    volume = read_volume(cohort[0])
    assert (volume.label == 1).sum() == (ball() > 0).sum()
    story = json.loads((tmp_path / "out" / "prepare.json").read_text())
    assert story["cases"][0]["steps"][0] == {"name": "relabel", "map": {"2": 1}}
    assert list(story["fingerprint"]["class_volume_ml"]) == ["1"]


def test_a_map_does_not_excuse_undeclared_labels(raw, tmp_path, save, ball):
    save(raw / "labelsTr" / "case_1.nii.gz", ball() * 3)
    summary = prepare(raw, tmp_path / "out", Recipe(label_map={3: 2}))
    assert "must hold the declared labels 0, 1, 2, 3, got 6" in summary.quarantined["case_1"][0]


def test_soft_masks_are_cut_at_a_threshold(tmp_path, save, ball, picture):
    for i in range(2):
        save(tmp_path / "raw" / "images" / f"{i}.nii.gz", picture(ball(), i))
        save(tmp_path / "raw" / "labels" / f"{i}.nii.gz", np.where(ball() > 0, 0.8, 0.2).astype(np.float32))
    prepare(tmp_path / "raw", tmp_path / "out", Recipe(label_threshold=0.5, spacing=None, crop=None))
    np.testing.assert_array_equal(read_volume(load_cases(tmp_path / "out")[0]).label, ball() > 0)
    story = json.loads((tmp_path / "out" / "prepare.json").read_text())
    assert story["cases"][0]["steps"][0] == {"name": "threshold", "from": 0.5}


@pytest.mark.parametrize(
    ("files", "layout", "name"),
    [
        (["images/a.nii.gz", "images/a.png"], "msd", "msd"),
        (["images/a.png", "masks/a.png"], "msd", "2d"),
        (["x/1.dcm", "x/preview.jpg"], "msd", "msd"),
        (["images/a.png"], "nnunet", "convert"),
        ([], "msd", "msd"),
    ],
)
def test_the_usual_recipe(tmp_path, files, layout, name):
    for file in files:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_bytes(b"")
    assert usual_recipe(tmp_path, layout) == name


def pictures(page: str) -> dict[str, Image.Image]:
    found = re.findall(r'alt="slices of ([^"]+)" src="data:image/png;base64,([^"]+)"', page)
    return {name: Image.open(io.BytesIO(base64.b64decode(data))) for name, data in found}


def test_every_case_is_on_the_sheet_with_its_verdict_and_a_picture(raw, tmp_path, save, ball, picture):
    save(raw / "labelsTr" / "case_1.nii.gz", ball() * 0)
    (raw / "imagesTr" / "case_2.nii.gz").write_bytes(b"junk")
    save(raw / "imagesTr" / "case_4.nii.gz", picture(ball(), 5))
    prepare(raw, tmp_path / "out", Recipe())
    page = (tmp_path / "out" / "prepare.html").read_text()
    order = re.findall(r'<article class="(\w+)">\s*<h2><span>(\w+)<', page)
    assert [name for verdict, name in order if verdict == "quarantined"] == ["case_1", "case_2"]
    assert sorted(name for _, name in order) == [f"case_{i}" for i in range(6)]
    assert order[:2] == [("quarantined", "case_1"), ("quarantined", "case_2")]
    assert "must mark at least one voxel" in page
    assert "1 front" in page
    shown = pictures(page)
    assert sorted(shown) == ["case_0", "case_1", "case_3", "case_4", "case_5"]
    red = (230, 25, 75)
    coloured = {name: (np.asarray(image.convert("RGB")) == red).all(-1).any() for name, image in shown.items()}
    assert coloured == {"case_0": True, "case_1": False, "case_3": True, "case_4": True, "case_5": True}
    assert "http" not in page, "the page needs no network"


def test_contours_lie_on_what_they_outline(tmp_path):
    """A bright block in a corner: the outline on the sheet frames the bright pixels, on the patient's own side."""
    from imaseg.data.cohort.thumbnail import draw_thumbnail
    from imaseg.data.volume import Volume

    label = np.zeros((40, 40, 40), np.int64)
    label[2:14, 20:36, 24:38] = 1
    volume = Volume("x", label[None].astype(np.float32), label, np.eye(4))
    draw_thumbnail(volume, tmp_path / "t.png")
    pixels = np.asarray(Image.open(tmp_path / "t.png").convert("RGB")).astype(int)
    red = (pixels == (230, 25, 75)).all(-1)
    bright = (pixels.min(-1) > 200) & (np.abs(np.ptp(pixels, axis=-1)) == 0)
    for mask in (red, bright):
        mask[:12] = False  # the letter R
        rows, columns = np.nonzero(mask[:, :150])
        # x from 2 to 14 of 40 lies to the patient's left, which is on the right of the picture.
        assert 150 * 26 / 40 - 2 <= columns.min() < columns.max() <= 150 * 38 / 40 + 2
        # y from 20 to 36 lies in front, which is up.
        assert 150 * 4 / 40 - 2 <= rows.min() < rows.max() <= 150 * 20 / 40 + 2


def test_a_patient_in_two_splits_is_flagged(raw, tmp_path):
    ids = {"train": ["case_0", "case_1", "case_2"], "val": ["case_3", "case_4", "case_5"]}
    (raw / "split.json").write_text(json.dumps(ids))
    summary = prepare(raw, tmp_path / "out", Recipe(patient=r"case_[03]$"))
    assert summary.flagged == {}, "case_0 and case_3 are two people"
    summary = prepare(raw, tmp_path / "other", Recipe(patient="case"))
    sentence = "the same patient is in train (case_0) and val (case_3), so scores will flatter."
    assert all(summary.flagged[f"case_{i}"] == [sentence] for i in range(6))
