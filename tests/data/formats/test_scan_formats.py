"""The same volume in every format is the same volume."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from PIL import Image

from imaseg.data.files import files_behind, list_volumes
from imaseg.data.formats.read import read_scan
from imaseg.data.layouts.load import load_cases
from imaseg.data.reading import read_volume
from imaseg.errors import InputError

OBLIQUE = nib.eulerangles.euler2mat(0.2, -0.1, 0.3) @ np.diag([0.8, 1.1, 2.5])


def itk_of(nifti: nib.Nifti1Image) -> SimpleITK.Image:
    """By way of ITK's own NIfTI reader, which knows nothing of the code under test."""
    return SimpleITK.ReadImage(nifti.get_filename())


@pytest.mark.parametrize("suffix", [".mha", ".mhd", ".nrrd", ".nhdr", ".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.uint8])
def test_voxels_and_place_are_those_of_the_nifti_file(tmp_path, suffix, dtype):
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = OBLIQUE, (-31, 12, 250)
    array = np.random.default_rng(0).integers(0, 200, (7, 6, 5)).astype(dtype)
    nib.save(nib.Nifti1Image(array, affine), tmp_path / "a.nii.gz")
    itk = itk_of(nib.load(tmp_path / "a.nii.gz"))
    SimpleITK.WriteImage(itk, str(tmp_path / f"x{suffix}"))
    scan = read_scan(tmp_path / f"x{suffix}")
    np.testing.assert_array_equal(scan.data, array)
    np.testing.assert_allclose(scan.affine, affine, atol=1e-4)
    np.testing.assert_allclose(scan.pixdim, (0.8, 1.1, 2.5), rtol=1e-5)
    assert scan.data.dtype == np.float32


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
def test_components_of_a_vector_are_channels(tmp_path, suffix):
    array = np.random.default_rng(0).integers(0, 200, (5, 6, 7, 3)).astype(np.int16)  # z, y, x, channel
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array, isVector=True), str(tmp_path / f"x{suffix}"))
    np.testing.assert_array_equal(read_scan(tmp_path / f"x{suffix}").data, array.transpose(2, 1, 0, 3))


@pytest.mark.parametrize("name", ["{other}", "../secret.raw", "LIST\n../secret.raw"])
@pytest.mark.parametrize(("suffix", "key"), [(".mhd", "ElementDataFile ="), (".nhdr", "data file:")])
def test_a_header_reads_no_files_from_elsewhere(tmp_path, suffix, key, name):
    other, own = tmp_path / "secret.raw", tmp_path / "in"
    own.mkdir()
    other.write_bytes(np.ones(8 * 8 * 8, np.int16).tobytes())
    path = own / f"x{suffix}"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.ones((8, 8, 8), np.int16)), str(path))
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith((key[:-2], key))]
    lines = [line.replace("encoding: gzip", "encoding: raw") for line in lines]
    path.write_text("\n".join([*lines, f"{key} {name.format(other=other)}", ""]))
    with pytest.raises(InputError, match="must name voxels in its own folder, got"):
        read_scan(path)


@pytest.mark.parametrize("suffix", [".mha", ".mhd", ".nrrd", ".nhdr", ".png", ".tif", ".jpg"])
def test_a_truncated_file_is_named(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    if suffix in (".png", ".tif", ".jpg"):
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 50), np.uint8)).save(path)
    else:
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.ones((9, 8, 7), np.int16)), str(path))
    voxels = max(files_behind(path), key=lambda p: p.stat().st_size)
    voxels.write_bytes(voxels.read_bytes()[: voxels.stat().st_size * 2 // 3])
    with pytest.raises(InputError, match=rf"x\{suffix} must be a complete .* Copy it again"):
        read_scan(path)


@pytest.mark.parametrize("suffix", [".mha", ".nrrd", ".png"])
def test_junk_and_empty_files_are_named(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    path.write_bytes(b"junk" * 50)
    with pytest.raises(InputError, match="must be a complete"):
        read_scan(path)
    path.write_bytes(b"")
    with pytest.raises(InputError, match="must be an image file, got an empty file"):
        read_scan(path)


def test_a_detached_header_stands_for_its_voxels_too(tmp_path):
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.ones((3, 3, 3), np.int16)), str(tmp_path / "x.mhd"))
    assert sorted(p.name for p in files_behind(tmp_path / "x.mhd")) == ["x.mhd", "x.raw"]
    assert [p.name for p in list_volumes(tmp_path)] == ["x.mhd"]


def picture_of(tmp_path, array, name="x.png", mode=None):
    image = Image.fromarray(array) if mode is None else Image.fromarray(array, mode=mode)
    image.save(tmp_path / name)
    return read_scan(tmp_path / name, dtype=None)


def test_columns_are_x_and_rows_are_y(tmp_path):
    array = np.arange(12, dtype=np.uint8).reshape(3, 4)
    scan = picture_of(tmp_path, array)
    assert scan.data.shape == (4, 3, 1)
    np.testing.assert_array_equal(scan.data[..., 0], array.T)
    assert nib.aff2axcodes(scan.affine) == ("L", "P", "S")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_tiff_keeps_its_grey_values(tmp_path, dtype):
    array = (np.random.default_rng(0).random((5, 4)) * 250 + (1000 if dtype != np.uint8 else 0)).astype(dtype)
    np.testing.assert_array_equal(picture_of(tmp_path, array, "x.tif").data[..., 0], array.T)


def test_sixteen_bit_png(tmp_path):
    array = np.random.default_rng(0).integers(0, 65535, (5, 4)).astype(np.uint16)
    np.testing.assert_array_equal(picture_of(tmp_path, array).data[..., 0], array.T)


def test_pages_are_slices(tmp_path):
    pages = [Image.fromarray(np.full((3, 4), value, np.uint8)) for value in (5, 6, 7)]
    pages[0].save(tmp_path / "x.tif", save_all=True, append_images=pages[1:])
    np.testing.assert_array_equal(read_scan(tmp_path / "x.tif").data[0, 0], [5, 6, 7])


def test_colours_are_channels_and_equal_ones_are_one(tmp_path):
    colours = np.random.default_rng(0).integers(0, 255, (3, 4, 3)).astype(np.uint8)
    np.testing.assert_array_equal(picture_of(tmp_path, colours).data[:, :, 0], colours.swapaxes(0, 1))
    grey = np.repeat(colours[..., :1], 3, axis=2)
    np.testing.assert_array_equal(picture_of(tmp_path, grey).data[..., 0], colours[..., 0].T)
    seen = picture_of(tmp_path, np.concatenate([grey, np.full((3, 4, 1), 9, np.uint8)], -1))
    assert seen.flags == ["its transparency is left out"]
    assert seen.data.shape == (4, 3, 1)


def test_bilevel_masks_are_zero_and_one(tmp_path):
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_scan(tmp_path / "m.png").data.ravel(), [1, 0])


def test_images_and_labels_of_different_formats_are_paired(tmp_path, save, ball, picture):
    save(tmp_path / "images" / "a.nii.gz", picture(ball()))
    nib_label = save(tmp_path / "a.nii.gz", ball())
    (tmp_path / "labels").mkdir()
    SimpleITK.WriteImage(SimpleITK.ReadImage(str(nib_label)), str(tmp_path / "labels" / "a_seg.nrrd"))
    volume = read_volume(load_cases(tmp_path)[0])
    np.testing.assert_array_equal(volume.label, ball())


def test_previews_beside_volumes_are_not_cases(tmp_path, save, ball, picture):
    save(tmp_path / "images" / "a.nii.gz", picture(ball()))
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "images" / "a.png")
    assert load_cases(tmp_path).ids == ["a"]


@pytest.mark.parametrize(
    ("image", "label", "name"),
    [
        ("a_image.nrrd", "a_label.nrrd", "a"),
        ("Case00.mha", "Case00_segmentation.mha", "Case00"),
        ("case_7/imaging.nii.gz", "case_7/segmentation.nii.gz", "case_7"),
        ("s/7/T1.nii.gz", "s/7/T1-mask.nii.gz", "T1"),
    ],
)
def test_files_are_paired_by_the_words_in_their_names(tmp_path, image, label, name, ball, picture):
    for path, array in ((image, picture(ball())), (label, ball())):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array.T), str(tmp_path / path))
    cohort = load_cases(tmp_path)
    assert cohort.ids == [name]
    assert cohort[0].label == tmp_path / label


def test_cases_of_one_name_in_several_folders_are_told_apart(tmp_path, save, ball, picture):
    for site in ("bern", "oslo"):
        for number in ("1", "2"):
            save(tmp_path / site / number / "t1.nii.gz", picture(ball()))
            save(tmp_path / site / number / "t1_seg.nii.gz", ball())
    assert load_cases(tmp_path).ids == ["bern_1_t1", "bern_2_t1", "oslo_1_t1", "oslo_2_t1"]


def test_an_image_whose_label_is_not_there_is_named(tmp_path, save, ball, picture):
    save(tmp_path / "a.nii.gz", picture(ball()))
    save(tmp_path / "a_seg.nii.gz", ball())
    save(tmp_path / "b.nii.gz", picture(ball()))
    with pytest.warns(UserWarning, match=r"b_seg.nii.gz must exist \(case b\)"):
        assert load_cases(tmp_path).ids == ["a"]


@pytest.mark.data
def test_real_nrrd_files_and_the_nifti_that_itk_makes_of_them_are_one(real_data, tmp_path):
    cohort = load_cases(real_data / "pyradiomics_nrrd")
    assert cohort.ids == ["brain1", "breast1"]
    for case in cohort:
        for path in case.files:
            SimpleITK.WriteImage(SimpleITK.ReadImage(str(path)), str(tmp_path / "x.nii.gz"))
            scan, nifti = read_scan(path), nib.load(tmp_path / "x.nii.gz")
            np.testing.assert_array_equal(scan.data, nifti.get_fdata())
            np.testing.assert_allclose(scan.affine, nifti.affine, atol=1e-3)


@pytest.mark.parametrize("suffix", [".mhd", ".nhdr"])
def test_names_longer_than_files_may_have_are_refused(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.ones((8, 8, 8), np.int16)), str(path))
    key = {".mhd": "ElementDataFile =", ".nhdr": "data file:"}[suffix]
    lines = [f"{key} {'x' * 9000}" if line.startswith(key) else line for line in path.read_text().splitlines()]
    path.write_text("\n".join([*lines, ""]))
    with pytest.raises(InputError, match="must name voxels by a name that files can have, got 9000 characters"):
        read_scan(path)
