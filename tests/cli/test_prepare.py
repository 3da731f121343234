"""`imaseg prepare` as a user types it, in one process so that it costs little."""

from __future__ import annotations

import json
import shutil
import sys
import tarfile

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from imaseg.cli.main import run


@pytest.fixture
def imaseg(monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["imaseg", *map(str, arguments)])
        with pytest.raises(SystemExit) as done:
            run()
        return done.value.code, *capsys.readouterr()

    return call


@pytest.fixture
def photos(tmp_path):
    mask = np.zeros((20, 24), np.uint8)
    mask[5:12, 6:15] = 255
    for i in range(3):
        for folder, array in (("images", mask // 2 + 10 * i + np.arange(24, dtype=np.uint8)), ("masks", mask)):
            (tmp_path / "photos" / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(tmp_path / "photos" / folder / f"{i}.png")
    return tmp_path / "photos"


def test_pictures_get_their_recipe_and_it_is_said(imaseg, photos, tmp_path):
    code, out, _ = imaseg("prepare", photos, tmp_path / "out")
    assert code == 0
    assert "3 cases prepared, 0 quarantined, 0 flagged." in out
    assert "Prepared by the recipe 2d, since none was named" in out
    assert f"Created {tmp_path / 'out' / 'prepare.html'}" in out
    image = nib.load(tmp_path / "out" / "imagesTr" / "0.nii.gz")
    assert image.shape == (24, 20, 1)
    assert 0 <= image.get_fdata().min() < image.get_fdata().max() <= 1


def test_a_config_changes_keys_of_a_recipe(imaseg, photos, tmp_path):
    (tmp_path / "mine.yaml").write_text("normalise: none\nlabels: {1: lesion}\n")
    code, _, _ = imaseg("prepare", photos, tmp_path / "out", "--recipe", "2d", "--config", tmp_path / "mine.yaml")
    assert code == 0
    story = json.loads((tmp_path / "out" / "prepare.json").read_text())
    assert story["recipe"]["normalise"] == "none"
    assert story["recipe"]["label_map"] == {"255": 1, "65535": 1}
    assert json.loads((tmp_path / "out" / "dataset.json").read_text())["labels"] == {"0": "background", "1": "lesion"}


def test_nnunet_layout_converts_only_unless_told_otherwise(imaseg, raw_phantom, tmp_path):
    code, out, _ = imaseg("prepare", raw_phantom, tmp_path / "out", "--layout", "nnunet", "--workers", "1")
    assert code == 0
    assert "Prepared by the recipe convert, since none was named" in out
    images = sorted((tmp_path / "out" / "imagesTr").iterdir())
    assert images[0].name == "phantom_001_0000.nii.gz"
    before = nib.as_closest_canonical(nib.load(next((raw_phantom / "imagesTr").glob("phantom_001*"))))
    np.testing.assert_allclose(nib.load(images[0]).get_fdata(), before.get_fdata(), rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--layout", "bids"], "layout must be one of msd, nnunet, got 'bids'"),
        (["--workers", "0"], "workers must be at least 1, got 0"),
        (["--recipe", "nobody"], "must be one of those that ship"),
        (
            ["--keep-tags", "KVP,PatientName"],
            "what identifies no patient (names, dates, UIDs, numbers and free text do)",
        ),
        (["--keep-tags", "Manufacturer"], "must hold DICOM for --keep-tags, got other formats only"),
        (["--config", "gone.yaml"], "gone.yaml must be a readable YAML file"),
    ],
)
def test_wrong_options_are_one_line(imaseg, photos, tmp_path, options, sentence):
    code, out, err = imaseg("prepare", photos, tmp_path / "out", *options)
    assert (code, out) == (2, "")
    assert err.startswith("imaseg: ")
    assert sentence in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_download_fetches_what_monai_knows(imaseg, raw_phantom, tmp_path, monkeypatch):
    """From a file: address, by MONAI's own downloader."""
    from monai.apps import DecathlonDataset

    with tarfile.open(tmp_path / "served.tar", "w") as archive:
        archive.add(raw_phantom, "Task09_Spleen")
    monkeypatch.setitem(DecathlonDataset.resource, "Task09_Spleen", (tmp_path / "served.tar").as_uri())
    monkeypatch.setitem(DecathlonDataset.md5, "Task09_Spleen", None)
    source = tmp_path / "data" / "Task09_Spleen"
    code, out, _ = imaseg("prepare", source, tmp_path / "out", "--download")
    assert code == 0
    assert "6 cases prepared" in out
    assert (source / "dataset.json").is_file()
    assert not (tmp_path / "data" / "Task09_Spleen.tar").exists()


def test_download_says_what_it_cannot_fetch(imaseg, tmp_path, monkeypatch):
    code, _, err = imaseg("prepare", tmp_path / "ACDC", tmp_path / "out", "--download")
    assert code == 2
    assert "that MONAI can download (Task01_BrainTumour, " in err
    from monai.apps import DecathlonDataset

    monkeypatch.setitem(DecathlonDataset.resource, "Task09_Spleen", (tmp_path / "gone.tar").as_uri())
    code, _, err = imaseg("prepare", tmp_path / "Task09_Spleen", tmp_path / "out", "--download")
    assert code == 2
    assert "Task09_Spleen must be downloadable from file:" in err


@pytest.mark.parametrize("command", ["prepare", "train", "audit", "attack", "margin", "doctor"])
def test_every_command_that_reads_data_may_follow_links(imaseg, command, monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "200")
    assert "--follow-links" in imaseg(command, "--help")[1]


def test_a_listed_link_is_set_aside_unless_links_are_followed(imaseg, raw_phantom, tmp_path):
    raw = shutil.copytree(raw_phantom, tmp_path / "raw")
    image = sorted((raw / "imagesTr").iterdir())[0]
    image.rename(tmp_path / "elsewhere.nii.gz")
    image.symlink_to(tmp_path / "elsewhere.nii.gz")
    code, stdout, _ = imaseg("prepare", raw, tmp_path / "out")
    assert code == 1
    assert f"got a link to {tmp_path}/elsewhere.nii.gz. Copy the file there, or pass --follow-links" in stdout
    assert imaseg("prepare", raw, tmp_path / "out", "--follow-links")[0] == 0


def test_an_audit_follows_links_only_if_asked(imaseg, tiny_run, prepared_phantom, tmp_path):
    data = shutil.copytree(prepared_phantom, tmp_path / "data")
    image = data / "imagesTr" / "phantom_005.nii.gz"
    image.rename(tmp_path / "elsewhere.nii.gz")
    image.symlink_to(tmp_path / "elsewhere.nii.gz")
    words = ["attack", tiny_run, data, "--steps", "1", "--eps", "0.1", "--cases", "phantom_005"]
    code, _, stderr = imaseg(*words, "--out", tmp_path / "a")
    assert code == 2
    assert "--follow-links" in stderr
    assert imaseg(*words, "--out", tmp_path / "b", "--follow-links")[0] == 0
    assert imaseg("doctor", tiny_run, "--data", data, "--cases", "phantom_005")[0] == 2
    assert imaseg("doctor", tiny_run, "--data", data, "--cases", "phantom_005", "--follow-links")[0] in (0, 1)
