"""DICOM series, SEG and RTSTRUCT: geometry next to GDCM's, and everything that must be refused."""

from __future__ import annotations

import shutil
import sys

import nibabel as nib
import numpy as np
import pytest
import SimpleITK

from imaseg.data.formats.read import read_scan
from imaseg.data.layouts.load import load_cases
from imaseg.data.preparation.prepare import prepare
from imaseg.data.preparation.recipe import Recipe
from imaseg.data.reading import read_volume
from imaseg.errors import InputError

from ..dicom_writer import SPACING, write_rtstruct, write_seg, write_series

SHAPE = (20, 16, 9)
AS_IT_IS = Recipe(spacing=None, crop=None, normalise="none", orientation=None)


def volume(seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2000, SHAPE)


def tilted_axes():
    turn = nib.eulerangles.euler2mat(0.3, -0.2, 0.1)
    return {"columns": turn[:, 0], "rows": turn[:, 1]}


@pytest.mark.parametrize("axes", [{}, tilted_axes(), {"columns": (0, 1, 0), "rows": (0, 0, -1)}])
def test_voxels_and_place_are_those_that_gdcm_gives(tmp_path, axes):
    stored = volume()
    write_series(tmp_path, stored, **axes)
    scan = read_scan(tmp_path / "000.dcm")
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path)))
    other = reader.Execute()
    np.testing.assert_array_equal(scan.data, SimpleITK.GetArrayFromImage(other).T)
    np.testing.assert_array_equal(scan.data, stored - 1024)
    SimpleITK.WriteImage(other, str(tmp_path / "x.nii.gz"))
    np.testing.assert_allclose(scan.affine, nib.load(tmp_path / "x.nii.gz").affine, atol=1e-4)
    np.testing.assert_allclose(scan.pixdim, (SPACING[1], SPACING[0], 2.5), rtol=1e-5)


def test_rescale_is_that_of_each_slice(tmp_path):
    stored = volume()
    for k in range(3):
        write_series(tmp_path, stored[:, :, :1], origin=(0, 0, 2.5 * k), prefix=f"{k}-", RescaleSlope=0.5 + k)
    uids = [next(tmp_path.glob(f"{k}-*.dcm")) for k in range(3)]
    import pydicom

    headers = [pydicom.dcmread(path) for path in uids]
    for header in headers:
        header.SeriesInstanceUID = headers[0].SeriesInstanceUID
        header.save_as(header.filename)
    scan = read_scan(uids[0])
    for k in range(3):
        np.testing.assert_allclose(scan.data[..., k], stored[..., 0] * (0.5 + k) - 1024, rtol=1e-6)


def test_series_of_one_folder_are_cases_of_their_own(tmp_path):
    write_series(tmp_path / "jane", volume(1), number=3, prefix="a")
    write_series(tmp_path / "jane", volume(2), number=4, prefix="b")
    write_series(
        tmp_path / "jane", volume(3)[:, :, :1], number=5, prefix="c", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]
    )
    write_series(tmp_path / "john", volume(4), patient="Roe^John")
    cohort = load_cases(tmp_path)
    assert cohort.ids == ["jane_series3", "jane_series4", "john"]
    assert cohort.modality == ("CT",)
    assert cohort[0].patient == cohort[1].patient != cohort[2].patient
    for case, seed in zip(cohort, (1, 2, 4), strict=True):
        np.testing.assert_array_equal(read_volume(case).image[0], volume(seed) - 1024)


def test_files_without_suffix_are_known_by_their_first_bytes(tmp_path):
    write_series(tmp_path / "a", volume())
    for path in (tmp_path / "a").glob("*.dcm"):
        path.rename(path.with_suffix(""))
    (tmp_path / "a" / "README").write_text("not an image")
    assert read_volume(load_cases(tmp_path)[0]).shape == SHAPE


def _tilt(folder):
    write_series(folder, volume(), tilt=0.4)


def _missing(folder):
    write_series(folder, volume())
    (folder / "028.dcm").unlink()


def _phases(folder):
    import pydicom

    first = write_series(folder, volume(1), prefix="a")
    write_series(folder, volume(2), prefix="b")
    for path in folder.glob("b*.dcm"):
        header = pydicom.dcmread(path)
        header.SeriesInstanceUID = first[0].SeriesInstanceUID
        header.save_as(path)


def _truncated(folder):
    write_series(folder, volume())
    path = folder / "014.dcm"
    path.write_bytes(path.read_bytes()[:-300])


def _junk(folder):
    write_series(folder, volume())
    (folder / "014.dcm").write_bytes(b"junk" * 100)


def _sizes(folder):
    import pydicom

    write_series(folder, volume())
    header = pydicom.dcmread(folder / "014.dcm")
    header.PixelSpacing = [0.9, 0.8]
    header.save_as(folder / "014.dcm")


def _placeless(folder):
    import pydicom

    write_series(folder, volume())
    header = pydicom.dcmread(folder / "014.dcm")
    del header.ImagePositionPatient
    header.save_as(folder / "014.dcm")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (_tilt, r"slices stacked at right angles \(straighten the gantry tilt first\), got a tilt of 9.1 degrees"),
        (_missing, r"evenly spaced slices, got 5 mm after slice 4, elsewhere 2.5 mm \(a slice is missing\?\)"),
        (_phases, "one image per slice position .* got several at"),
        (_truncated, "must be one of a readable DICOM series"),
        (_junk, "014.dcm must be a DICOM file"),
        (_sizes, r"slices of one PixelSpacing, got \[.*0.7.*\] and \[.*0.8.*\]"),
        (_placeless, "slices with ImagePositionPatient, got none"),
    ],
)
def test_what_is_no_whole_stack_is_set_aside_with_the_reason(tmp_path, fault, reason):
    fault(tmp_path / "raw" / "bad")
    write_series(tmp_path / "raw" / "good", volume(7))
    with pytest.raises(InputError, match=reason):
        read_volume(load_cases(tmp_path / "raw")[0])
    summary = prepare(tmp_path / "raw", tmp_path / "out", AS_IT_IS)
    assert list(summary.quarantined) == ["bad"]
    assert summary.kept == ["good"]


def test_slices_exported_twice_count_once(tmp_path):
    write_series(tmp_path / "a", volume())
    (tmp_path / "a" / "copy.dcm").write_bytes((tmp_path / "a" / "000.dcm").read_bytes())
    scan = read_scan(tmp_path / "a" / "000.dcm")
    assert scan.data.shape == SHAPE
    assert scan.flags == ["1 slices lie there twice; one of each used"]


def masks():
    left, right = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    left[3:8, 4:9, 2:6], right[10:16, 5:12, 4:8] = True, True
    return {"Left": left, "Right": right}


@pytest.mark.parametrize("axes", [{}, tilted_axes()])
def test_a_segmentation_lies_on_its_series(tmp_path, axes):
    slices = write_series(tmp_path / "ct", volume(), **axes)
    write_seg(tmp_path / "seg.dcm", slices, masks())
    cohort = load_cases(tmp_path)
    assert cohort.ids == ["ct"]
    assert cohort.labels == {0: "background", 1: "Left", 2: "Right"}
    expected = masks()["Left"] * 1 + masks()["Right"] * 2
    np.testing.assert_array_equal(read_volume(cohort[0]).label, expected)


def test_segmentations_of_several_files_are_joined_and_overlaps_flagged(tmp_path):
    slices = write_series(tmp_path / "raw" / "ct", volume())
    over = {"Lesion": np.roll(masks()["Left"], 2, axis=0)}
    write_seg(tmp_path / "raw" / "a.dcm", slices, masks())
    write_seg(tmp_path / "raw" / "b.dcm", slices, over)
    shared = int((over["Lesion"] & masks()["Left"]).sum())
    summary = prepare(tmp_path / "raw", tmp_path / "out", AS_IT_IS)
    assert summary.flagged["ct"] == [
        "raw/a.dcm: structures of 2 files joined.",
        f"raw/a.dcm: structure 'Lesion' of b.dcm takes voxels of those that it overlaps: {shared} of 'Left'.",
    ]
    label = read_volume(load_cases(tmp_path / "out")[0]).label
    np.testing.assert_array_equal(label == 3, over["Lesion"])


def test_two_readers_of_one_structure_are_refused(tmp_path):
    slices = write_series(tmp_path / "ct", volume())
    for name in ("a.dcm", "b.dcm"):
        write_seg(tmp_path / name, slices, masks())
    with pytest.raises(InputError, match=r"b.dcm must not hold 'Left' again"):
        read_volume(load_cases(tmp_path)[0])


def test_names_in_a_recipe_choose_structures_and_their_values(tmp_path):
    slices = write_series(tmp_path / "raw" / "ct", volume())
    write_seg(tmp_path / "raw" / "seg.dcm", slices, masks())
    prepare(tmp_path / "raw", tmp_path / "out", AS_IT_IS.model_copy(update={"labels": {0: "background", 7: "Right"}}))
    cohort = load_cases(tmp_path / "out")
    assert cohort.labels == {0: "background", 7: "Right"}
    np.testing.assert_array_equal(read_volume(cohort[0]).label, masks()["Right"] * 7)


def test_a_series_without_the_segmentation_that_others_have_is_set_aside(tmp_path):
    slices = write_series(tmp_path / "raw" / "a", volume(1))
    write_series(tmp_path / "raw" / "b", volume(2))
    write_seg(tmp_path / "raw" / "seg.dcm", slices, masks())
    summary = prepare(tmp_path / "raw", tmp_path / "out", AS_IT_IS)
    assert summary.quarantined == {
        "b": ["b/a SEG or RTSTRUCT that refers to this series must exist, got nothing there."]
    }


def test_a_segmentation_on_another_grid_is_refused(tmp_path):
    slices = write_series(tmp_path / "ct", volume())
    write_seg(tmp_path / "seg.dcm", slices, masks())
    import pydicom

    seg = pydicom.dcmread(tmp_path / "seg.dcm")
    seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing = [1.1, 1.1]
    seg.save_as(tmp_path / "seg.dcm")
    with pytest.raises(InputError, match=r"seg.dcm must lie on the voxels of its image"):
        read_volume(load_cases(tmp_path)[0])


def circle(slices, k, centre, radius):
    """Points around an index of slice `k`, in mm of the patient."""
    angles = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    header = slices[k]
    columns, rows = (np.array(header.ImageOrientationPatient[part], float) for part in (slice(0, 3), slice(3, 6)))
    x = centre[0] * SPACING[1] + radius * np.cos(angles)
    y = centre[1] * SPACING[0] + radius * np.sin(angles)
    return np.array(header.ImagePositionPatient, float) + x[:, None] * columns + y[:, None] * rows


@pytest.mark.parametrize("axes", [{}, tilted_axes()])
def test_contours_are_filled_and_inner_ones_are_holes(tmp_path, axes):
    shape = (60, 50, 4)
    slices = write_series(tmp_path / "ct", np.ones(shape, int) + volume().mean().astype(int), **axes)
    ring = [circle(slices, 2, (30, 25), 14.1), circle(slices, 2, (30, 25), 6.1)]
    write_rtstruct(tmp_path / "rs.dcm", slices, {"Ring": ring, "Disc": [circle(slices, 1, (20, 20), 10.1)]})
    cohort = load_cases(tmp_path)
    assert cohort.labels == {0: "background", 1: "Ring", 2: "Disc"}
    label = read_scan_label(cohort[0])
    x, y = np.meshgrid(np.arange(60) * SPACING[1], np.arange(50) * SPACING[0], indexing="ij")
    far = np.hypot(x - 30 * SPACING[1], y - 25 * SPACING[0])
    np.testing.assert_array_equal(label[..., 2] == 1, (far < 14.1) & (far > 6.1))
    far = np.hypot(x - 20 * SPACING[1], y - 20 * SPACING[0])
    np.testing.assert_array_equal(label[..., 1] == 2, far < 10.1)
    assert not label[..., [0, 3]].any()


def read_scan_label(case):
    from imaseg.data.reading import read_images, read_label

    return read_label(case, read_images(case)[0]).data


def test_contours_across_slices_are_refused(tmp_path):
    slices = write_series(tmp_path / "ct", volume())
    upright = circle(slices, 2, (10, 8), 4) + np.linspace(0, 9, 200)[:, None] * np.array([0, 0, 1.0])
    write_rtstruct(tmp_path / "rs.dcm", slices, {"Ring": [upright]})
    with pytest.raises(InputError, match="contours in the slices of its image, got one across slices for 'Ring'"):
        read_volume(load_cases(tmp_path)[0])


def test_nothing_written_names_the_patient(tmp_path):
    slices = write_series(tmp_path / "raw" / "ct", volume(), patient="SecretName")
    write_seg(tmp_path / "raw" / "seg.dcm", slices, masks())
    prepare(tmp_path / "raw", tmp_path / "out", AS_IT_IS)
    written = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(written) > 5
    assert all(b"SecretName" not in path.read_bytes() and "SecretName" not in path.name for path in written)


def test_another_kind_of_scanner_than_most_is_set_aside(tmp_path):
    for i in range(2):
        write_series(tmp_path / "raw" / f"ct{i}", volume(i))
    write_series(tmp_path / "raw" / "mr", volume(5), modality="MR")
    summary = prepare(tmp_path / "raw", tmp_path / "out", AS_IT_IS)
    assert summary.quarantined == {"mr": ["mr must be CT like most of the cohort, got MRI."]}


def test_without_pydicom_one_sentence_says_what_to_type(tmp_path, monkeypatch):
    write_series(tmp_path / "ct", volume())
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(InputError, match="must be read by highdicom and pydicom, got neither. Type: python -m pip"):
        load_cases(tmp_path)


@pytest.mark.data
def test_a_real_segmentation_is_the_one_its_authors_saved_as_nrrd(real_data):
    case = load_cases(real_data / "dicom_ct_seg")[0]
    read = read_volume(case.__class__(case.id, case.image, case.label, segments={"Liver": 1}))
    nrrd = SimpleITK.ReadImage(str(real_data / "dicom_ct_seg" / "liver_seg.nrrd"))
    saved = SimpleITK.GetArrayFromImage(nrrd).T
    # The NRRD runs from foot to head, the series was read along its own normal: compare in the world.
    ras = nib.as_closest_canonical(nib.Nifti1Image(read.label.astype(np.uint8), read.affine))
    direction = np.diag([-1.0, -1.0, 1.0]) * np.asarray(nrrd.GetSpacing())
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = direction, np.diag([-1, -1, 1]) @ np.asarray(nrrd.GetOrigin())
    expected = nib.as_closest_canonical(nib.Nifti1Image(saved.astype(np.uint8), affine))
    np.testing.assert_array_equal(ras.get_fdata(), expected.get_fdata())
    np.testing.assert_allclose(ras.affine, expected.affine, atol=1e-3)
    assert read.image.min() == -3024  # padding outside the field of view
    assert 900 < read.image.max() < 3100


def test_a_series_spread_over_folders_is_set_aside_and_a_copy_is_not(tmp_path):
    source = tmp_path / "raw"
    write_series(source / "DIR001", volume(), number=1, patient="Doe^Jane")
    shutil.copytree(source / "DIR001", source / "copy")
    assert len(prepare(source, tmp_path / "copies", AS_IT_IS).kept) == 2
    shutil.rmtree(source / "copy")
    (source / "DIR002").mkdir()
    for path in sorted((source / "DIR001").iterdir())[:3]:
        path.rename(source / "DIR002" / path.name)
    write_series(source / "whole", volume(2), number=2, patient="Roe^John")
    summary = prepare(source, tmp_path / "out", AS_IT_IS)
    assert summary.kept == ["whole"]
    assert (
        "slices of this series (others are in DIR002; put them together) must exist" in summary.quarantined["DIR001"][0]
    )
