"""There and back: what is found in prepared space lies in native space where it should, within half a voxel."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

from imaseg.data import invert_file, load_cases
from imaseg.data.cohort.statistics import CohortStatistics
from imaseg.data.formats.nifti import write_nifti
from imaseg.data.inverse.invert import invert_image, invert_label
from imaseg.data.preparation.prepare import prepare
from imaseg.data.preparation.recipe import Recipe
from imaseg.data.preparation.steps import apply_recipe
from imaseg.data.reading import read_volume
from imaseg.data.volume import Volume
from imaseg.errors import InputError

from ..preparation.test_steps import CODES

CT = {"percentile_00_5": 900.0, "percentile_99_5": 3000.0, "mean": 1800.0, "std": 400.0}
COHORT = CohortStatistics(("MRI",), (1.0, 1.0, 1.0), (48, 48, 48), (CT,), {})


def head(codes="RAS", spacing=(1.0, 1.1, 2.0), shape=(48, 44, 26), *, oblique=True, shade=0.0) -> Volume:
    """Two touching lobes off the centre, smooth tissue, exact air; a bias field of `shade` if asked."""
    tilt = nib.eulerangles.euler2mat(0.2, -0.15, 0.3) if oblique else np.eye(3)
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = tilt @ np.diag(spacing), (-40, 12, 7)
    x, y, z = np.meshgrid(*[(np.arange(n) - n / 2) * s for n, s in zip(shape, spacing, strict=True)], indexing="ij")
    far = np.sqrt((x - 3) ** 2 + 1.2 * (y + 2) ** 2 + (z - 1) ** 2)
    label = np.where(far < 17, np.where(y + 0.37 * x - 0.21 * z > -1, 1, 2), 0)
    grey = np.where(far < 21, 2000 + 400 * np.cos(far / 4), 0) * (1 + shade * x / 24)
    turn = nib.orientations.ornt_transform(nib.io_orientation(affine), nib.orientations.axcodes2ornt(codes))
    image = nib.Nifti1Image(grey.astype(np.float32), affine).as_reoriented(turn)
    return Volume(codes, np.asarray(image.dataobj)[None], nib.apply_orientation(label, turn), np.asarray(image.affine))


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def assert_back(volume, done, steps, *, least=0.99):
    label, image = invert_label(done.label, steps), invert_image(done.image, steps)
    assert label.shape == volume.label.shape
    assert image.shape == volume.image.shape
    for value in (1, 2):
        there, back = volume.label == value, label == value
        assert dice(there, back) >= least
        moved = np.argwhere(there).mean(0) - np.argwhere(back).mean(0)
        assert np.abs(moved).max() < 0.1
    inside = volume.label > 0
    assert np.abs(image[0] - volume.image[0])[inside].mean() < 0.01 * volume.image.max()


@pytest.mark.parametrize("codes", CODES)
def test_from_all_48_orientations(codes):
    volume = head(codes)
    done, steps = apply_recipe(volume, Recipe(spacing=(1.0, 1.0, 1.0), crop_margin=1), COHORT)
    assert_back(volume, done, steps)


RECIPES = [
    {"spacing": None},
    {"spacing": (0.8, 0.9, 1.5)},
    {"spacing": (1.0, None, 1.0)},
    {"spacing": (0.9, 0.9, 0.9), "image_order": 3},
    {"spacing": (0.5, 0.55, 1.0), "image_order": 0, "label_order": 0},
    {"spacing": (0.9, 1.0, 2.0), "thick_order": 0},
    {"orientation": None, "spacing": (1.0, 1.0, 2.0)},
    {"crop": "body", "crop_margin": 2},
    {"crop": None, "normalise": "percentile"},
    {"normalise": "ct"},
    {"normalise": "range"},
    {"normalise": "none"},
    {"normalise": "zscore", "within": "body"},
    {"n4": True},
    {"label_map": {1: 2, 2: 1}},
]


@pytest.mark.parametrize("recipe", RECIPES, ids=[" ".join(f"{k}={v}" for k, v in r.items()) for r in RECIPES])
def test_through_every_step(recipe):
    volume = head("PIR", shade=0.3 if "n4" in recipe else 0.0)
    done, steps = apply_recipe(volume, Recipe(**{"spacing": (1.0, 1.0, 1.0)} | recipe), COHORT)
    if "label_map" in recipe:
        np.testing.assert_array_equal(np.unique(done.label), [0, 1, 2])
        volume.label = np.array([0, 2, 1])[volume.label]  # predictions stay in the classes of the model
    steps = json.loads(json.dumps(steps))  # as read from prepare.json
    assert_back(volume, done, steps)


@pytest.mark.parametrize("spacing", [(0.7, 0.7, 5.0), (0.9, 0.9, 3.3), (1.5, 1.5, 1.5)])
def test_from_thick_slices(spacing):
    shape = tuple(round(52 / size) for size in spacing)
    volume = head("LPS", spacing, shape, oblique=False)
    done, steps = apply_recipe(volume, Recipe(spacing=(0.65, 0.65, 1.5), thick_order=0), COHORT)
    assert_back(volume, done, steps)


@pytest.mark.parametrize(
    "spacing", [(1.0, 1.0, 1.0), (0.7, 0.9, 1.5), (1.1, 0.8, 1.25), (1.5, 1.5, 1.5), (2.5, 2.5, 2.5)]
)
@pytest.mark.parametrize("codes", ["RAS", "SPL"])
def test_volumes_are_conserved_within_one_percent(codes, spacing):
    volume = head(codes, (0.9, 0.8, 1.3), (54, 60, 40))
    done, _ = apply_recipe(volume, Recipe(spacing=spacing), COHORT)
    for value in (1, 2):
        before, after = ((v.label == value).sum() * np.prod(v.spacing) for v in (volume, done))
        assert after == pytest.approx(before, rel=0.01)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    root = tmp_path_factory.mktemp("trip")
    for codes in ("RAS", "PIL"):
        volume = head(codes)
        write_nifti(root / "raw" / "images" / f"{codes}.nii.gz", volume.image, volume.affine)
        write_nifti(root / "raw" / "labels" / f"{codes}.nii.gz", volume.label, volume.affine, dtype=np.uint8)
    prepare(root / "raw", root / "out", Recipe(spacing=(1.0, 1.0, 1.0)))
    return root


@pytest.mark.parametrize("turned", [False, True])
def test_files_go_back_to_the_grid_of_their_case(prepared, tmp_path, turned):
    native = read_volume(load_cases(prepared / "raw").select(["PIL"])[0])
    for folder in ("labelsTr", "imagesTr"):
        file = prepared / "out" / folder / "PIL.nii.gz"
        if turned:  # as other software may have stored it
            nib.save(nib.load(file).as_reoriented(np.array([[1, -1], [0, 1], [2, -1]])), tmp_path / f"{folder}.nii.gz")
            file = tmp_path / f"{folder}.nii.gz"
        written = invert_file(file, prepared / "out", "PIL", tmp_path / f"native-{folder}.nii.gz")
        back = nib.load(written)
        np.testing.assert_allclose(back.affine, native.affine, atol=1e-4)
        data = back.get_fdata()
        if folder == "labelsTr":
            assert back.get_data_dtype() == np.uint8
            assert min(dice(data == k, native.label == k) for k in (1, 2)) > 0.99
        else:
            assert np.abs(data - native.image[0])[native.label > 0].mean() < 25


def test_what_cannot_go_back_is_named(prepared, tmp_path):
    out = prepared / "out"
    with pytest.raises(InputError, match="case must be one that was prepared in .*, got no such case: 'X'"):
        invert_file(out / "labelsTr" / "PIL.nii.gz", out, "X", tmp_path / "x.nii.gz")
    with pytest.raises(InputError, match=r"must have the shape of imagesTr/PIL.nii.gz.* Only files on the grid"):
        invert_file(prepared / "raw" / "labels" / "RAS.nii.gz", out, "PIL", tmp_path / "x.nii.gz")


@pytest.mark.data
@pytest.mark.parametrize(
    "name", ["Task04_Hippocampus", "open_ms_lesion", "totalsegmentator_examples", "pyradiomics_nrrd"]
)
def test_real_labels_come_back(real_data, name):
    """Prepared at their own voxel size where it is fine, at half of it where it is not; three largest structures."""
    for case in load_cases(real_data / name)[:3]:
        volume = read_volume(case)
        values, counts = np.unique(volume.label[volume.label > 0], return_counts=True)
        largest = values[np.argsort(counts)[-3:]]
        volume.label = np.where(np.isin(volume.label, largest), volume.label, 0)
        sizes = CohortStatistics((), (1.0,) * 3, (1,) * 3, ({},) * len(volume.image), {})
        spacing = tuple(size if size <= 1.5 else size / 2 for size in volume.spacing)
        done, steps = apply_recipe(volume, Recipe(spacing=spacing, normalise="zscore"), sizes)
        back = invert_label(done.label, steps)
        assert all(dice(back == value, volume.label == value) >= 0.99 for value in largest)
