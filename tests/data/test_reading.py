from __future__ import annotations

import itertools

import nibabel as nib
import numpy as np
import pytest

from imaseg.data.cases import Case
from imaseg.data.formats.nifti import write_nifti
from imaseg.data.formats.read import label_values, read_scan
from imaseg.data.reading import read_volume
from imaseg.errors import InputError

OBLIQUE = np.array([[0.9, -0.3, 0, 5], [0.3, 1.2, 0, -7], [0, 0, 2.5, 3], [0, 0, 0, 1.0]])


def test_reads_back_what_nibabel_wrote(tmp_path, save, ball, picture):
    image = save(tmp_path / "i.nii.gz", picture(ball()), OBLIQUE)
    label = save(tmp_path / "l.nii.gz", ball(), OBLIQUE)
    volume = read_volume(Case("a", (image,), label))
    assert volume.image.dtype == np.float32
    assert volume.label.dtype == np.int64
    np.testing.assert_array_equal(volume.image[0], picture(ball()))
    np.testing.assert_array_equal(volume.label, ball())
    np.testing.assert_allclose(volume.affine, OBLIQUE)
    np.testing.assert_allclose(volume.spacing, nib.affines.voxel_sizes(OBLIQUE))


def test_header_scaling_is_applied(tmp_path):
    stored = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    image = nib.Nifti1Image(stored, np.eye(4))
    image.header.set_slope_inter(0.5, -1000)
    nib.save(image, tmp_path / "i.nii.gz")
    volume = read_volume(Case("a", (tmp_path / "i.nii.gz",), None))
    np.testing.assert_array_equal(volume.image[0], stored * 0.5 - 1000)


def test_big_endian_and_uncompressed(tmp_path, ball):
    data = (ball().astype(int) * 300).astype(">i2")
    nib.save(nib.Nifti1Image(data, np.eye(4), nib.Nifti1Header(endianness=">")), tmp_path / "i.nii")
    volume = read_volume(Case("a", (tmp_path / "i.nii",), None))
    assert volume.image.dtype == np.dtype("=f4")
    np.testing.assert_array_equal(volume.image[0], data)


def test_channels_of_a_4d_file_and_of_several_files_go_first(tmp_path, save, ball, picture):
    stack = np.stack([picture(ball(), seed) for seed in range(3)], axis=-1)
    four = save(tmp_path / "four.nii.gz", stack)
    single = save(tmp_path / "single.nii.gz", stack[..., :1])
    assert read_volume(Case("a", (four,), None)).image.shape == (3, *ball().shape)
    both = read_volume(Case("a", (four, single), None))
    np.testing.assert_array_equal(both.image[3], stack[..., 0])


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_label_with_axes_in_another_order_lands_on_its_image(tmp_path, save, ball, picture, order):
    label = ball(centre=(5, 6, 4))
    image = save(tmp_path / "i.nii.gz", picture(label), OBLIQUE)
    ornt = np.array([[order[0], 1], [order[1], -1], [order[2], -1]])
    turned = nib.Nifti1Image(label, OBLIQUE).as_reoriented(ornt)
    nib.save(turned, tmp_path / "l.nii.gz")
    volume = read_volume(Case("a", (image,), tmp_path / "l.nii.gz"))
    np.testing.assert_array_equal(volume.label, label)


@pytest.mark.parametrize("unit", ["micron", "meter"])
def test_lengths_in_other_units_become_mm(tmp_path, unit, ball, picture):
    factor = {"micron": 1e3, "meter": 1e-3}[unit]
    image = nib.Nifti1Image(picture(ball()), np.diag([0.5 * factor, factor, 2 * factor, 1]))
    image.header.set_xyzt_units(unit)
    nib.save(image, tmp_path / "i.nii.gz")
    volume = read_volume(Case("a", (tmp_path / "i.nii.gz",), None))
    np.testing.assert_allclose(volume.spacing, (0.5, 1, 2), rtol=1e-5)


def _break(path, how):
    if how == "missing":
        path.unlink()
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "truncated":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif how == "text":
        path.write_text("not a volume")
    elif how == "flipped":
        content = bytearray(path.read_bytes())
        content[2000:2003] = bytes(b ^ 255 for b in content[2000:2003])
        path.write_bytes(content)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("missing", "exist, got nothing there"),
        ("empty", "got an empty file"),
        ("truncated", "got an unreadable one .the file ends early"),
        ("text", "be compressed, as its name says, got a file that is not gzip"),
        ("flipped", "be a complete NIfTI file, got an unreadable one .*incorrect data check"),
    ],
)
def test_unreadable_files_are_named(tmp_path, save, how, message):
    path = save(tmp_path / "bad.nii.gz", np.random.default_rng(0).random((16, 16, 16)))
    _break(path, how)
    with pytest.raises(InputError, match=f"bad.nii.gz .*{message}"):
        read_volume(Case("a", (path,), None))


def test_truncated_uncompressed_file(tmp_path, save, ball, picture):
    path = save(tmp_path / "bad.nii", picture(ball()))
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"bad.nii must be a complete file with the 11104 bytes"):
        read_volume(Case("a", (path,), None))


def test_numbers_too_large_for_float32_are_reported_as_infinite(tmp_path, save):
    data = np.ones((4, 4, 4))
    data[1, 2, 3] = 1e300
    path = save(tmp_path / "i.nii.gz", data)
    with pytest.raises(InputError, match="must hold finite numbers, got 0 NaN and 1 infinite"):
        read_volume(Case("a", (path,), None))


def test_arrays_that_are_no_volume(tmp_path, save):
    path = save(tmp_path / "i.nii.gz", np.zeros((2, 3, 4, 5, 6), np.float32))
    with pytest.raises(InputError, match=r"must be a volume .* got shape \(2, 3, 4, 5, 6\)"):
        read_scan(path)
    path = save(tmp_path / "c.nii.gz", np.zeros((2, 3, 4), np.complex64))
    with pytest.raises(InputError, match="must hold real numbers, got voxels of type complex64"):
        read_scan(path)


def test_a_case_whose_files_disagree_is_refused(tmp_path, save, ball, picture):
    image = save(tmp_path / "i.nii.gz", picture(ball()))
    label = save(tmp_path / "l.nii.gz", ball()[:, :, :-1])
    with pytest.raises(InputError, match=r"^a: .*l.nii.gz must have the shape of .*i.nii.gz"):
        read_volume(Case("a", (image,), label))


def test_a_threshold_is_the_lowest_value_of_the_structure(tmp_path, save):
    save(tmp_path / "image.nii.gz", np.arange(8.0, dtype=np.float32).reshape(2, 2, 2))
    grey = np.array([0.0, 0.25, 0.5, 0.75, 1.0, 0.0, 0.49, 0.51], np.float32).reshape(2, 2, 2)
    save(tmp_path / "label.nii.gz", grey)
    volume = read_volume(Case("a", (tmp_path / "image.nii.gz",), tmp_path / "label.nii.gz"), threshold=0.5)
    np.testing.assert_array_equal(volume.label, grey >= 0.5)


def test_label_values_are_whole(tmp_path, save, ball):
    assert label_values(save(tmp_path / "l.nii.gz", ball())) == {0, 1, 2}
    path = save(tmp_path / "f.nii.gz", ball() * np.float32(0.5))
    with pytest.raises(
        InputError, match=r"f.nii.gz must hold whole label numbers from 0, got 0.5 in .* label_threshold: 0.5"
    ):
        label_values(path)


@pytest.mark.parametrize("affine", [np.eye(4), OBLIQUE, np.diag([-1, -1, 3, 1.0])])
def test_written_files_say_the_same_to_nibabel_and_itk(tmp_path, ball, picture, affine):
    import SimpleITK

    path = tmp_path / "sub" / "i.nii.gz"
    write_nifti(path, picture(ball())[None], affine)
    image = nib.load(path)
    np.testing.assert_allclose(image.affine, affine, atol=1e-5)
    assert image.get_data_dtype() == np.float32
    assert image.header.get_xyzt_units()[0] == "mm"
    np.testing.assert_array_equal(image.get_fdata(), picture(ball()))
    if np.allclose(affine[:3, :3].T @ affine[:3, :3], np.diag(np.diag(affine[:3, :3].T @ affine[:3, :3]))):
        itk = SimpleITK.ReadImage(str(path))
        point = np.array(itk.TransformIndexToPhysicalPoint((3, 5, 7))) * (-1, -1, 1)
        np.testing.assert_allclose(point, (affine @ (3, 5, 7, 1))[:3], atol=1e-4)


def test_whole_number_types_round_and_refuse_what_does_not_fit(tmp_path):
    array = np.array([[[0.4, 1.6, 254.7]]])
    write_nifti(tmp_path / "l.nii.gz", array, np.eye(4), dtype=np.uint8)
    np.testing.assert_array_equal(nib.load(tmp_path / "l.nii.gz").get_fdata(), [[[0, 2, 255]]])
    with pytest.raises(InputError, match=r"l.nii.gz must hold values that fit uint8, got 120.0 to 300.0"):
        write_nifti(tmp_path / "l.nii.gz", array.clip(0, 1) * 300, np.eye(4), dtype=np.uint8)


def test_a_failed_write_leaves_the_old_file_and_no_trace(tmp_path, monkeypatch):
    path = tmp_path / "i.nii.gz"
    write_nifti(path, np.ones((2, 2, 2)), np.eye(4))
    before = path.read_bytes()

    def die(image, where):
        where.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(nib, "save", die)
    with pytest.raises(KeyboardInterrupt):
        write_nifti(path, np.zeros((2, 2, 2)), np.eye(4))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["i.nii.gz"]
