"""Which files make up a series and what their numbers mean, next to the voxels that the test wrote itself."""

from __future__ import annotations

import shutil

import highdicom
import numpy as np
import pydicom
import pytest

from imaseg.data.formats.read import read_scan
from imaseg.data.layouts.load import load_cases
from imaseg.errors import InputError

from ..dicom_writer import rewrite, strip, write_series

SHAPE = (12, 10, 8)


def stored(seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2000, SHAPE)


def read(folder):
    return read_scan(min(folder.glob("*")))


@pytest.fixture
def series(tmp_path):
    write_series(tmp_path / "ct", stored())
    return tmp_path / "ct"


@pytest.mark.parametrize("meta", [True, False])
@pytest.mark.parametrize("syntax", [pydicom.uid.ExplicitVRLittleEndian, pydicom.uid.ImplicitVRLittleEndian])
@pytest.mark.parametrize(("suffix", "kind"), [(".dcm", "MONOCHROME1"), ("", "MONOCHROME2")])
def test_files_without_preamble_are_read(series, syntax, meta, suffix, kind):
    for path in series.glob("*.dcm"):
        header = pydicom.dcmread(path)
        header.file_meta.TransferSyntaxUID, header.PhotometricInterpretation = syntax, kind
        header.save_as(path, implicit_vr=syntax.is_implicit_VR, little_endian=True)
        strip(path, meta=meta)
        path.rename(path.with_suffix(suffix))
    assert load_cases(series.parent).ids == ["ct"]
    np.testing.assert_array_equal(read(series).data, stored() - 1024)


@pytest.mark.parametrize("uid", ["1.2.3.4", ""])
def test_one_uid_on_all_slices_loses_none(series, uid):
    rewrite(series, lambda _, header: setattr(header, "SOPInstanceUID", uid))
    scan = read(series)
    np.testing.assert_array_equal(scan.data, stored() - 1024)
    assert scan.flags == ["different slices have the same SOPInstanceUID; told apart by position"]


def test_a_copy_under_another_uid_and_spelling_is_still_a_copy(series):
    header = pydicom.dcmread(series / "014.dcm")
    header.SOPInstanceUID = pydicom.uid.generate_uid()
    header.ImagePositionPatient = [f"{float(value):.5f}" for value in header.ImagePositionPatient]
    header.save_as(series / "copy.dcm")
    scan = read(series)
    np.testing.assert_array_equal(scan.data, stored() - 1024)
    assert scan.flags == ["1 slices lie there twice; one of each used"]


def test_one_uid_and_place_but_other_pixels_is_no_copy(series):
    header = pydicom.dcmread(series / "014.dcm")
    header.PixelData = (stored(9)[:, :, 0].T).astype(np.uint16).tobytes()
    header.save_as(series / "other.dcm")
    with pytest.raises(InputError, match=r"several at \[.*\] mm \(.*014.dcm and other.dcm\)"):
        read(series)


def test_series_without_series_uid_are_told_by_their_folders(tmp_path):
    for seed in (1, 2):
        write_series(tmp_path / f"p{seed}", stored(seed))
        rewrite(tmp_path / f"p{seed}", lambda _, header: setattr(header, "SeriesInstanceUID", ""))
    cohort = load_cases(tmp_path)
    assert cohort.ids == ["p1", "p2"]
    np.testing.assert_array_equal(read_scan(cohort[1].image[0]).data, stored(2) - 1024)


@pytest.mark.parametrize("word", ["LOCALIZER", "SCOUT"])
def test_a_localiser_inside_a_series_is_left_out_and_said(series, word):
    scout = pydicom.dcmread(series / "000.dcm")
    scout.ImageType, scout.SOPInstanceUID = ["ORIGINAL", "PRIMARY", word], pydicom.uid.generate_uid()
    scout.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    scout.save_as(series / "00_scout.dcm")
    cohort = load_cases(series.parent)
    assert cohort.ignored == {series / "00_scout.dcm": "localiser"}
    assert series / "00_scout.dcm" not in cohort[0].slices
    assert len(cohort[0].slices) == SHAPE[2]
    scan = read_scan(cohort[0].image[0])
    np.testing.assert_array_equal(scan.data, stored() - 1024)
    assert scan.flags == ["1 localiser left out"]


def wide(header):
    header.Columns, header.PixelData = 14, b"\0" * (14 * 10 * 2)


def turned(header):
    header.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (wide, r"slices of one Columns, got \[12\] and \[14\] \(look at 014.dcm; a localiser\?\)"),
        (turned, r"slices of one ImageOrientationPatient, got \[1, 0, 0, 0, 1, 0\] and .*look at 014.dcm"),
    ],
)
def test_an_image_unlike_the_others_is_named(series, change, reason):
    rewrite(series, lambda k, header: change(header) if k == 2 else None)
    with pytest.raises(InputError, match=reason):
        read(series)


def test_slices_of_two_people_are_no_stack(series):
    rewrite(series, lambda k, header: setattr(header, "PatientID", f"Doe{k > 3}"))
    with pytest.raises(InputError, match=r"slices of one PatientID, got several.$"):
        read(series)


def test_several_frames_of_reference_in_one_series_are_said(series):
    rewrite(series, lambda k, header: setattr(header, "FrameOfReferenceUID", f"1.2.{k}"))
    scan = read(series)
    np.testing.assert_array_equal(scan.data, stored() - 1024)
    assert scan.flags == ["slices state several frames of reference; taken for one"]


def test_overlapping_acquisitions_are_refused_with_what_tells_them_apart(series):
    def overlap(k, header):
        header.AcquisitionNumber = 1 + (k > 3)
        header.ImagePositionPatient = [-20, 30, 2.5 * (k - (k > 3))]

    rewrite(series, overlap)
    with pytest.raises(InputError, match=r"several at \[-20.0, 30.0, 7.5\] mm .*which differ in AcquisitionNumber"):
        read(series)


def test_small_deviations_of_the_gap_may_not_add_up(tmp_path):
    volume = np.random.default_rng(0).integers(0, 2000, (4, 4, 40))

    def drift(share):
        def change(k, header):
            header.ImagePositionPatient = [0, 0, 2.0 * k * (1 + share * (k > 20)) - 2.0 * 20 * share * (k > 20)]

        return change

    for name in ("slight", "much"):
        write_series(tmp_path / name, volume)
    rewrite(tmp_path / "slight", drift(0.01))
    assert read(tmp_path / "slight").data.shape == (4, 4, 40)
    rewrite(tmp_path / "much", drift(0.08))
    with pytest.raises(InputError, match=r"evenly spaced slices, got gaps of 2 to 2.16 mm, 1.6 mm adrift"):
        read(tmp_path / "much")


@pytest.mark.parametrize(("bits", "signed"), [(16, False), (16, True), (12, False), (12, True), (10, False)])
@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
def test_grey_values_are_the_stored_ones_rescaled_per_slice(series, kind, bits, signed):
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1)) if signed else (0, 2**bits)
    values = np.random.default_rng(1).integers(low, high, SHAPE)

    def change(k, header):
        header.PhotometricInterpretation, header.PixelRepresentation = kind, int(signed)
        header.BitsStored, header.HighBit = bits, bits - 1
        header.RescaleSlope, header.RescaleIntercept = 1 + 0.5 * k, -10 * k
        header.PixelData = (values[:, :, k].T & (2**bits - 1)).astype(np.uint16).tobytes()

    rewrite(series, change)
    scan = read(series)
    k = np.arange(SHAPE[2])
    np.testing.assert_allclose(scan.data, values * (1 + 0.5 * k) - 10 * k)
    flags = ["MONOCHROME1: small values are meant to look bright; kept as stored"]
    assert scan.flags == (flags if kind == "MONOCHROME1" else [])


def test_signed_and_unsigned_slices_of_one_series_fit(series):
    def change(k, header):
        if k % 2:
            header.PixelRepresentation, header.RescaleIntercept = 1, 0
            header.PixelData = (stored()[:, :, k].T - 1024).astype(np.int16).tobytes()

    rewrite(series, change)
    np.testing.assert_array_equal(read(series).data, stored() - 1024)


def lookup(_, header):
    table = pydicom.Dataset()
    table.LUTDescriptor, table.ModalityLUTType, table.LUTData = [2, 0, 16], "HU", b"\1\0\2\0"
    header.ModalityLUTSequence = [table]


def coloured(_, header):
    header.PhotometricInterpretation = "PALETTE COLOR"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda _, header: setattr(header, "RescaleSlope", 0), "images with a RescaleSlope, got 0 in"),
        (lookup, "RescaleSlope and RescaleIntercept, got a ModalityLUTSequence in"),
        (coloured, "grey images, got PALETTE COLOR in"),
    ],
)
def test_values_that_no_line_explains_are_refused(series, change, reason):
    rewrite(series, change)
    with pytest.raises(InputError, match=reason):
        read(series)


def test_ct_whose_unit_is_in_doubt_is_flagged(series):
    rewrite(series, lambda k, header: header.__delattr__("RescaleIntercept") if k == 3 else None)
    assert read(series).flags == ["CT without RescaleIntercept: stored values are taken for HU"]
    rewrite(series, lambda _, header: header.update({"RescaleIntercept": 0, "RescaleType": "US"}))
    assert read(series).flags == ["CT whose RescaleType is US, not HU"]


def test_bright_padding_is_flagged_and_dark_padding_is_not(series):
    values = stored()
    values[:3] = 4000
    rewrite(series, lambda k, header: header.update({"PixelData": values[:, :, k].T.astype(np.uint16).tobytes()}))
    rewrite(series, lambda _, header: header.add_new("PixelPaddingValue", "US", 4000))
    scan = read(series)
    np.testing.assert_array_equal(scan.data, values - 1024)
    assert scan.flags == ["25 % of the voxels hold the padding value 2976, which is not the lowest; kept"]
    rewrite(series, lambda _, header: header.add_new("PixelPaddingValue", "US", int(values.min())))
    assert read(series).flags == []


def test_one_slice_without_thickness_is_said(tmp_path):
    write_series(tmp_path, stored()[:, :, :1])
    rewrite(tmp_path, lambda _, header: header.__delattr__("SliceThickness"))
    assert read(tmp_path).flags == ["one slice without thickness: 1 mm assumed"]


def test_a_header_that_ends_early_is_no_object_without_image(series):
    path = series / "014.dcm"
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index(b"\x28\x00\x10\x00US")])  # before Rows
    cohort = load_cases(series.parent)
    assert cohort.ignored == {path: "unreadable DICOM"}
    with pytest.raises(InputError, match=r"014.dcm must be a DICOM file, got .*ends early.* Copy it again, or remove"):
        read(series)


@pytest.fixture
def frames(tmp_path):
    """An enhanced CT of which each frame has a slope of its own."""
    dates = {f"{what}{when}": value for what in ("Content", "Acquisition", "Series")
             for when, value in (("Date", "20200101"), ("Time", "120000"))}  # fmt: skip
    more = {"StudyID": "1", "AcquisitionNumber": 1, "PatientPosition": "HFS", "KVP": 100, "BodyPartExamined": "HEAD"}
    slices = write_series(tmp_path / "slices", stored(), **dates, **more)
    for k, header in enumerate(slices):
        header.RescaleSlope = 1 + k
    enhanced = highdicom.legacy.LegacyConvertedEnhancedCTImage(
        slices,
        series_instance_uid=pydicom.uid.generate_uid(),
        series_number=9,
        sop_instance_uid=pydicom.uid.generate_uid(),
        instance_number=1,
    )
    (tmp_path / "frames").mkdir()
    enhanced.save_as(tmp_path / "frames" / "e.dcm")
    shutil.rmtree(tmp_path / "slices")
    return tmp_path / "frames" / "e.dcm"


@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
def test_frames_of_one_file_are_rescaled_one_by_one(frames, kind):
    header = pydicom.dcmread(frames)
    header.PhotometricInterpretation = kind
    header.save_as(frames)
    scan = read_scan(frames)
    expected = stored() * (1 + np.arange(SHAPE[2])) - 1024
    np.testing.assert_allclose(scan.data, expected[..., ::-1])
    assert scan.affine[2, 2] == -2.5
    assert scan.affine[2, 3] == -100 + 7 * 2.5


def test_a_frame_that_is_missing_is_refused(frames):
    header = pydicom.dcmread(frames)
    del header.PerFrameFunctionalGroupsSequence[3]
    header.NumberOfFrames -= 1
    header.PixelData = header.PixelData[: -header.Rows * header.Columns * 2]
    header.save_as(frames)
    with pytest.raises(InputError, match="must hold an evenly spaced stack of frames"):
        read_scan(frames)


def test_two_files_of_frames_in_one_series_are_refused(frames):
    header = pydicom.dcmread(frames)
    header.SOPInstanceUID = pydicom.uid.generate_uid()
    header.PixelData = header.PixelData[::-1]
    header.save_as(frames.parent / "f.dcm")
    with pytest.raises(InputError, match="single frames, or one file of all frames, got e.dcm among 2 files"):
        read_scan(frames)
