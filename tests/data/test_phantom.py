from __future__ import annotations

import hashlib
import time

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from imaseg.data.layouts.load import load_cases
from imaseg.data.phantom import write_phantom
from imaseg.data.reading import read_volume
from imaseg.errors import InputError


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return load_cases(write_phantom(tmp_path_factory.mktemp("phantom"), cases=12))


@pytest.fixture(scope="module")
def volumes(cohort):
    return [read_volume(case) for case in cohort]


def digest(folder) -> str:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return hashlib.sha256(b"".join(p.read_bytes() for p in files)).hexdigest()


def test_same_seed_same_bytes(tmp_path):
    one, two, other = (
        digest(write_phantom(tmp_path / name, cases=3, seed=seed)) for name, seed in (("a", 5), ("b", 5), ("c", 6))
    )
    assert one == two
    assert one != other


def test_a_case_does_not_depend_on_how_many_follow(tmp_path, cohort):
    few = write_phantom(tmp_path / "few", cases=2)
    name = "imagesTr/phantom_002.nii.gz"
    assert (few / name).read_bytes() == (cohort.root / name).read_bytes()


def test_layout_and_split(cohort):
    assert cohort.labels == {0: "background", 1: "Front", 2: "Back"}
    assert cohort.modality == ("MRI",)
    assert (len(cohort.split["train"]), len(cohort.split["val"])) == (8, 4)
    assert sorted(cohort.split["train"] + cohort.split["val"]) == cohort.ids


def test_both_structures_are_there_of_varying_size_and_touch(volumes):
    sizes = []
    for volume in volumes:
        one, two = volume.label == 1, volume.label == 2
        sizes.append((one.sum(), two.sum()))
        touching = ndimage.binary_dilation(one) & two
        assert touching.sum() > 20
        for structure in (one, two):
            parts, n = ndimage.label(structure)
            assert np.bincount(parts.ravel())[1:].max() > 0.98 * structure.sum() if n else False
    assert np.min(sizes) > 200
    assert np.std(sizes, axis=0).min() > 50


def test_label_1_is_in_front_in_the_world(volumes):
    for volume in volumes:
        front, back = (
            nib.affines.apply_affine(volume.affine, np.argwhere(volume.label == k)).mean(axis=0) for k in (1, 2)
        )
        assert front[1] > back[1] + 5


def test_orientation_spacing_and_scale_differ(volumes):
    codes = {"".join(nib.aff2axcodes(volume.affine)) for volume in volumes}
    assert codes == {"RAS", "LPS"}
    spacing = np.array([volume.spacing for volume in volumes])
    assert np.all(np.abs(spacing / (1.0, 1.0, 1.6) - 1) < 0.1)
    assert spacing.std(axis=0).min() > 0.01
    maxima = [volume.image.max() for volume in volumes]
    assert max(maxima) / min(maxima) > 100


def test_air_is_zero_and_tissue_is_noisy(volumes):
    for volume in volumes:
        assert volume.image.min() == 0
        assert 0.02 < (volume.image == 0).mean() < 0.5
        assert (volume.image[0][volume.label > 0] > 0).all()


def test_no_threshold_finds_the_structures(volumes):
    """The best window of grey values, chosen with the label at hand, stays far from a useful segmentation."""
    best = []
    for volume in volumes:
        image, truth = volume.image[0], volume.label > 0
        scores = [
            2 * (found & truth).sum() / (found.sum() + truth.sum())
            for level in np.percentile(image[truth], [1, 5, 10, 20, 30, 40])
            for found in [image > level]
        ]
        best.append(max(scores))
    assert np.mean(best) < 0.8


def test_edges_carry_partial_volume(volumes):
    """On the way out of a structure grey values fall in steps, not in one: its outermost voxels are mixed."""
    fall = []
    for volume in volumes:
        image, body = volume.image[0], volume.label > 0
        near = ndimage.binary_dilation(body) & ~body
        for structure in (volume.label == 1, volume.label == 2):
            surface = np.median(image[structure & ndimage.binary_dilation(~body)])
            inside = np.median(image[structure & ndimage.binary_erosion(body, iterations=2)])
            around = np.median(image[near & ndimage.binary_dilation(structure)])
            assert around < surface
            fall.append((inside - surface) / (inside - around))
    assert 0.05 < np.mean(fall) < 0.5


def test_24_cases_are_quick(tmp_path):
    start = time.process_time()
    write_phantom(tmp_path / "p")
    assert time.process_time() - start < 5


def test_wrong_arguments(tmp_path):
    with pytest.raises(InputError, match=r"cases must be at least 2 .* got 1"):
        write_phantom(tmp_path / "p", cases=1)
    (tmp_path / "x").write_text("mine")
    with pytest.raises(InputError, match="out must be a new or empty folder"):
        write_phantom(tmp_path)
