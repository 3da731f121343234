"""Files with other voxels and the same header, checked with nibabel and the bytes themselves."""

from __future__ import annotations

import gzip
import hashlib

import nibabel as nib
import numpy as np
import pytest

from imaseg.data.inverse.rewrite import write_changed, write_labels_on

AFFINE = np.array([[0, -1.2, 0, 7.0], [0.9, 0, 0, -3.0], [0, 0, 2.5, 11.0], [0, 0, 0, 1.0]])


def saved(path, voxels, *, slope=1.0, inter=0.0, kind=nib.Nifti1Image, codes=(4, 1)):
    endianness = ">" if voxels.dtype.byteorder == ">" else "<"
    header = kind.header_class(endianness=endianness)
    header.set_data_dtype(voxels.dtype)
    image = kind(voxels, AFFINE, header)
    image.set_sform(AFFINE, code=codes[0])
    image.set_qform(AFFINE, code=codes[1])
    image.header["descrip"] = b"from the scanner"
    image.header["cal_max"] = 77
    image.header.set_slope_inter(slope, inter)
    nib.save(image, path)
    return path


def content(path):
    return gzip.decompress(path.read_bytes()) if path.name.endswith("gz") else path.read_bytes()


DTYPES = ["<i2", ">i2", "uint8", "uint16", "int32", "<f4", ">f4", "float64"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_only_the_voxels_asked_for_change(tmp_path, dtype):
    rng = np.random.default_rng(0)
    before = rng.integers(5, 200, (6, 5, 4)).astype(dtype)
    source = saved(tmp_path / "a.nii.gz", before)
    change = np.where(rng.random((1, 6, 5, 4)) < 0.5, rng.normal(0, 3, (1, 6, 5, 4)), 0.0)
    written = write_changed(source, change, tmp_path / "out" / "b.nii.gz")
    image = nib.load(tmp_path / "out" / "b.nii.gz")
    after = np.asarray(image.dataobj)
    assert image.get_data_dtype() == np.dtype(dtype)
    assert image.header.endianness == (">" if dtype.startswith(">") else "<")
    assert content(source)[: image.dataobj.offset] == content(tmp_path / "out" / "b.nii.gz")[: image.dataobj.offset]
    assert (image.header["sform_code"], image.header["qform_code"]) == (4, 1)
    np.testing.assert_array_equal(after[change[0] == 0], before[change[0] == 0])
    error = np.abs(after - (before + change[0])).max()
    assert error <= (0.5 if np.dtype(dtype).kind in "iu" else 1e-4)
    assert written.sha256 == hashlib.sha256((tmp_path / "out" / "b.nii.gz").read_bytes()).hexdigest()
    assert (written.wanted, written.changed) == ((change != 0).sum(), (after != before).sum())


def test_header_scaling_is_honoured_and_kept(tmp_path):
    stored = np.arange(60, dtype=np.int16).reshape(5, 4, 3)
    source = saved(tmp_path / "a.nii", stored, slope=0.5, inter=-100.0)
    change = np.zeros((1, 5, 4, 3))
    change[0, 2, 2, 2] = 3.0
    write_changed(source, change, tmp_path / "b.nii.gz")
    before, after = (np.asarray(nib.load(tmp_path / name).dataobj) for name in ("a.nii", "b.nii.gz"))
    assert after[2, 2, 2] - before[2, 2, 2] == 3.0
    assert (after != before).sum() == 1


def test_values_stop_at_the_ends_of_their_type(tmp_path):
    source = saved(tmp_path / "a.nii.gz", np.array([[[0, 250, 100]]], np.uint8))
    written = write_changed(source, np.array([[[[-9.0, 9.0, 9.0]]]]), tmp_path / "b.nii.gz")
    assert np.asarray(nib.load(tmp_path / "b.nii.gz").dataobj).ravel().tolist() == [0, 255, 109]
    assert written.at_limit == 2
    assert written.error == pytest.approx(np.sqrt(81 + 16) / np.sqrt(243))


def test_a_change_below_the_rounding_leaves_the_file_as_it_was(tmp_path):
    source = saved(tmp_path / "a.nii.gz", np.full((3, 3, 3), 7, np.int16))
    written = write_changed(source, np.full((1, 3, 3, 3), 0.4), tmp_path / "b.nii.gz")
    assert content(tmp_path / "b.nii.gz") == content(source)
    assert (written.wanted, written.changed, written.error) == (27, 0, pytest.approx(1.0))


@pytest.mark.parametrize("shape", [(4, 3, 2, 5), (4, 3, 2, 1, 5)])
def test_channels_on_the_last_axis(tmp_path, shape):
    source = saved(tmp_path / "a.nii.gz", np.zeros(shape, np.float32))
    change = np.random.default_rng(0).normal(size=(5, 4, 3, 2))
    assert write_changed(source, change, tmp_path / "b.nii.gz").channels == 5
    after = np.asarray(nib.load(tmp_path / "b.nii.gz").dataobj).reshape(4, 3, 2, 5)
    np.testing.assert_allclose(after, np.moveaxis(change, 0, -1), rtol=1e-6)


def test_a_flat_image_and_one_with_an_empty_fourth_axis(tmp_path):
    for shape in [(4, 3), (4, 3, 1), (4, 3, 2, 1)]:
        source = saved(tmp_path / "a.nii", np.zeros(shape, np.float32))
        deep = 2 if shape[2:3] == (2,) else 1
        written = write_changed(source, np.ones((1, 4, 3, deep)), tmp_path / "b.nii.gz")
        assert (written.channels, nib.load(tmp_path / "b.nii.gz").shape) == (1, shape)


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_labels_lie_on_the_grid_of_their_image(tmp_path, kind):
    source = saved(tmp_path / "a.nii.gz", np.zeros((4, 3, 2, 5), np.float32), slope=2.0, inter=1.0, kind=kind)
    label = np.arange(24).reshape(4, 3, 2)
    write_labels_on(tmp_path / "b.nii.gz", label, source)
    image = nib.load(tmp_path / "b.nii.gz")
    np.testing.assert_array_equal(np.asarray(image.dataobj), label)
    np.testing.assert_array_equal(image.affine, nib.load(source).affine)
    assert (image.header["sform_code"], image.header["qform_code"]) == (4, 1)
    assert image.get_data_dtype() == np.uint8
    assert isinstance(image, kind)


@pytest.mark.parametrize("codes", [(0, 1), (2, 0), (0, 0)])
def test_labels_say_where_they_lie_as_their_image_does(tmp_path, codes):
    source = saved(tmp_path / "a.nii.gz", np.zeros((4, 3, 2), np.int16), codes=codes)
    write_labels_on(tmp_path / "b.nii.gz", np.ones((4, 3, 2), np.int64), source)
    one, other = (nib.load(tmp_path / name) for name in ("a.nii.gz", "b.nii.gz"))
    assert (other.header["sform_code"], other.header["qform_code"]) == codes
    np.testing.assert_array_equal(one.affine, other.affine)
    np.testing.assert_array_equal(one.header["pixdim"], other.header["pixdim"])


def test_many_labels_take_a_wider_type(tmp_path):
    source = saved(tmp_path / "a.nii.gz", np.zeros((2, 2, 2), np.float32))
    write_labels_on(tmp_path / "b.nii.gz", np.full((2, 2, 2), 300), source)
    assert nib.load(tmp_path / "b.nii.gz").get_data_dtype() == np.uint16
