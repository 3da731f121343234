"""Analyze and NIfTI in two files, written by nibabel."""

from __future__ import annotations

import gzip
import shutil

import nibabel as nib
import numpy as np
import pytest

from imaseg.data.files import files_behind, list_volumes
from imaseg.data.formats.read import read_scan
from imaseg.data.layouts.load import load_cases
from imaseg.data.reading import read_volume
from imaseg.errors import InputError

ARRAY = np.random.default_rng(0).integers(0, 200, (7, 6, 5)).astype(np.int16)
AFFINE = np.array([[0.8, 0, 0, -3], [0, 1.1, 0, 4], [0, 0, 2.5, 5], [0, 0, 0, 1]])


@pytest.mark.parametrize("ending", [".img", ".hdr"])
def test_a_nifti_pair_is_read_by_either_file(tmp_path, ending):
    nib.save(nib.Nifti1Pair(ARRAY, AFFINE), tmp_path / "x.img")
    scan = read_scan(tmp_path / f"x{ending}", dtype=None)
    np.testing.assert_array_equal(scan.data, ARRAY)
    np.testing.assert_allclose(scan.affine, AFFINE, atol=1e-6)
    np.testing.assert_allclose(scan.pixdim, (0.8, 1.1, 2.5), rtol=1e-6)
    assert scan.flags == []


def test_an_analyze_file_is_read_as_nibabel_places_it_and_flagged(tmp_path):
    nib.save(nib.AnalyzeImage(ARRAY, np.diag([-0.8, 1.1, 2.5, 1])), tmp_path / "x.img")
    scan = read_scan(tmp_path / "x.hdr", dtype=None)
    np.testing.assert_array_equal(scan.data, nib.load(tmp_path / "x.img").get_fdata())
    np.testing.assert_allclose(scan.affine, nib.load(tmp_path / "x.img").affine)
    assert scan.flags == ["Analyze files set no orientation; axes are assumed LAS"]


def test_a_packed_pair_is_read(tmp_path):
    nib.save(nib.Nifti1Pair(ARRAY, AFFINE), tmp_path / "x.img")
    for ending in (".img", ".hdr"):
        with gzip.open(tmp_path / f"y{ending}.gz", "wb") as packed:
            packed.write((tmp_path / f"x{ending}").read_bytes())
    np.testing.assert_array_equal(read_scan(tmp_path / "y.hdr.gz", dtype=None).data, ARRAY)
    assert [path.name for path in files_behind(tmp_path / "y.hdr.gz")] == ["y.hdr.gz", "y.img.gz"]


def test_a_pair_is_one_case_and_both_files_are_its_own(tmp_path):
    for folder, array in (("images", ARRAY), ("labels", (ARRAY > 100).astype(np.uint8))):
        (tmp_path / folder).mkdir()
        nib.save(nib.Nifti1Pair(array, AFFINE), tmp_path / folder / "a[1].img")
    (case,) = load_cases(tmp_path)
    assert (case.id, case.image[0].name) == ("a[1]", "a[1].hdr")
    assert [path.name for path in files_behind(case.image[0])] == ["a[1].hdr", "a[1].img"]
    np.testing.assert_array_equal(read_volume(case).label, ARRAY > 100)


def test_half_of_a_pair_is_named(tmp_path):
    nib.save(nib.Nifti1Pair(ARRAY, AFFINE), tmp_path / "x.img")
    shutil.copy(tmp_path / "x.img", tmp_path / "alone.img")
    shutil.copy(tmp_path / "x.hdr", tmp_path / "other.hdr")
    assert [path.name for path in list_volumes(tmp_path)] == ["alone.img", "other.hdr", "x.hdr"]
    with pytest.raises(InputError, match=r"alone.img must have its header alone.hdr beside it, got none"):
        read_scan(tmp_path / "alone.img")
    with pytest.raises(InputError, match=r"other.hdr must be a complete NIfTI file, got .*other.img"):
        read_scan(tmp_path / "other.hdr")


@pytest.mark.parametrize(
    ("name", "pack", "message"),
    [
        ("a.nii.gz", 0, r"compressed, as its name says, got a file that is not gzip"),
        ("b.nii", 1, r"uncompressed, as its name says, got a file that is gzip. Add .gz"),
        ("c.nii.gz", 2, r"compressed once, got a gzip file inside"),
    ],
)
def test_compression_that_differs_from_the_name_is_named(tmp_path, name, pack, message):
    nib.save(nib.Nifti1Image(ARRAY, AFFINE), tmp_path / "x.nii")
    content = (tmp_path / "x.nii").read_bytes()
    for _ in range(pack):
        content = gzip.compress(content)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_scan(tmp_path / name)


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd", "a.png"])
@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "pointer of Git LFS"),
        (b"\n<!DOCTYPE html><html>", "a web page"),
    ],
)
def test_what_a_failed_download_leaves_is_named(tmp_path, name, content, what):
    (tmp_path / name).write_bytes(content * 9)
    with pytest.raises(InputError, match=what):
        read_scan(tmp_path / name)
