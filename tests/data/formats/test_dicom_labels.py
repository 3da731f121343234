"""Structures of SEG and RTSTRUCT files: which are taken, and what is said of those that are not plain."""

from __future__ import annotations

import highdicom
import numpy as np
import pydicom
import pytest
from pydicom.sr.codedict import codes

from imaseg.data.formats.dicom_labels import read_structures
from imaseg.data.formats.read import read_scan
from imaseg.data.layouts.load import load_cases
from imaseg.data.preparation.prepare import prepare
from imaseg.data.preparation.recipe import Recipe
from imaseg.errors import InputError

from ..dicom_writer import SPACING, write_rtstruct, write_seg, write_series

SHAPE = (20, 16, 9)
AS_IT_IS = Recipe(spacing=None, crop=None, normalise="none", orientation=None)


def box(x, y, z) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[slice(*x), slice(*y), slice(*z)] = True
    return mask


def contours(mask: np.ndarray) -> list[np.ndarray]:
    """The outline, in mm, of a box in each of its slices, half a voxel around its centres."""
    drawn = []
    for k in np.flatnonzero(mask.any((0, 1))):
        x, y = (np.flatnonzero(mask[:, :, k].any(axis)) for axis in (1, 0))
        corners = [(x[0] - 0.5, y[0] - 0.5), (x[-1] + 0.5, y[0] - 0.5), (x[-1] + 0.5, y[-1] + 0.5)]
        corners.append((x[0] - 0.5, y[-1] + 0.5))
        points = [(a * SPACING[1] - 20, b * SPACING[0] + 30, 2.5 * k - 100) for a, b in corners]
        drawn.append(np.array(points))
    return drawn


LEFT, RIGHT = box((3, 8), (4, 9), (2, 6)), box((10, 16), (5, 12), (4, 8))


@pytest.fixture
def slices(tmp_path):
    return write_series(tmp_path / "raw" / "ct", np.random.default_rng(0).integers(0, 2000, SHAPE))


@pytest.fixture
def read(tmp_path, slices):
    image = read_scan(tmp_path / "raw" / "ct" / "000.dcm")

    def structures(values, *names):
        return read_structures(tuple(tmp_path / "raw" / name for name in names), image, values)

    return structures


@pytest.fixture(params=["SEG", "RTSTRUCT"])
def write(request, tmp_path, slices):
    """Writes masks as segments, or as contours."""

    def written(name, masks, **more):
        path = tmp_path / "raw" / name
        if request.param == "SEG":
            write_seg(path, slices, dict(masks))
        else:
            write_rtstruct(path, slices, [(key, contours(mask)) for key, mask in dict(masks).items()], **more)
        return path

    return written


def test_both_kinds_hold_the_same_masks(write, read):
    write("s.dcm", {"Left": LEFT, "Right": RIGHT})
    label = read({"Left": 1, "Right": 5}, "s.dcm")
    np.testing.assert_array_equal(label.data, LEFT * 1 + RIGHT * 5)
    assert label.flags == []


def test_names_that_differ_by_case_or_blanks_are_one_structure_of_a_cohort(write, tmp_path):
    write("a.dcm", {"Lung L": LEFT, "Heart": RIGHT})
    other = write_series(tmp_path / "raw" / "ct2", np.random.default_rng(1).integers(0, 2000, SHAPE))
    write_seg(tmp_path / "raw" / "b.dcm", other, {" lung  l": LEFT, "HEART": RIGHT})
    cohort = load_cases(tmp_path / "raw")
    assert cohort.labels == {0: "background", 1: "Lung L", 2: "Heart"}
    summary = prepare(tmp_path / "raw", tmp_path / "out", AS_IT_IS)
    assert summary.flagged == {
        "ct2": [
            "raw/b.dcm: structure ' lung  l' of b.dcm taken for 'Lung L'.",
            "raw/b.dcm: structure 'HEART' of b.dcm taken for 'Heart'.",
        ]
    }
    for case in load_cases(tmp_path / "out"):
        label = read_scan(case.label).data
        np.testing.assert_array_equal(label, LEFT * 1 + RIGHT * 2)


def test_names_that_differ_by_case_or_blanks_in_one_file_are_refused_until_one_is_named(write, read, tmp_path):
    write("s.dcm", {"GTV": LEFT, "gtv 1": RIGHT, "Gtv": RIGHT})
    assert load_cases(tmp_path / "raw").labels == {0: "background", 1: "GTV", 2: "gtv 1"}
    with pytest.raises(InputError, match=r"s.dcm must hold structures .*got 'GTV' and 'Gtv'.*labels: {1: 'GTV'}"):
        read({"GTV": 1, "gtv 1": 2, "Gtv": 1}, "s.dcm")
    with pytest.raises(InputError, match="got 'GTV' and 'Gtv'"):
        read({"gtv": 1}, "s.dcm")
    np.testing.assert_array_equal(read({"GTV": 1}, "s.dcm").data, LEFT)
    np.testing.assert_array_equal(read({"Gtv": 1}, "s.dcm").data, RIGHT)
    assert read({"GTV1": 3}, "s.dcm").flags == ["structure 'gtv 1' of s.dcm taken for 'GTV1'"]


def test_structures_of_one_name_in_one_file_are_joined_and_flagged(tmp_path, slices, read):
    write_rtstruct(tmp_path / "raw" / "rs.dcm", slices, [("Node", contours(LEFT)), ("Node", contours(RIGHT))])
    label = read({"Node": 1}, "rs.dcm")
    np.testing.assert_array_equal(label.data, LEFT | RIGHT)
    assert label.flags == ["several structures of rs.dcm are called 'Node'; joined"]


def test_a_structure_that_ends_empty_is_flagged(write, read):
    write("s.dcm", {"Left": LEFT, "Inner": box((4, 6), (5, 7), (3, 4)), "Nothing": np.zeros(SHAPE, bool)})
    label = read({"Inner": 2, "Nothing": 3, "Left": 1}, "s.dcm")
    np.testing.assert_array_equal(label.data == 2, box((4, 6), (5, 7), (3, 4)))
    assert label.flags == [
        "structure 'Inner' of s.dcm takes voxels of those that it overlaps: 4 of 'Left'",
        "structure 'Nothing' marks no voxel of the image",
    ]
    write("s.dcm", {"Inner": box((4, 6), (5, 7), (3, 4)), "Left": LEFT})
    assert "structure 'Inner' is covered by others" in read({"Inner": 2, "Left": 1}, "s.dcm").flags


def test_structures_that_only_other_cases_have_are_said(write, read):
    write("s.dcm", {"Left": LEFT})
    assert read({"Left": 1, "A": 2, "B": 3, "C": 4, "D": 5}, "s.dcm").flags == [
        "without the structures 'A', 'B', 'C' and 1 more of other cases: background here"
    ]


def test_a_file_of_other_structures_only_is_refused(write, read):
    write("s.dcm", {"Left": LEFT})
    with pytest.raises(InputError, match=r"s.dcm must hold a structure that is wanted \('Liver'\), got others only"):
        read({"Liver": 1}, "s.dcm")


def test_a_structure_in_two_files_is_refused_however_it_is_spelled(write, read):
    write("a.dcm", {"Left": LEFT})
    write("b.dcm", {"left ": RIGHT})
    with pytest.raises(InputError, match=r"b.dcm must not hold 'left ?' again"):
        read({"Left": 1}, "a.dcm", "b.dcm")


def test_another_frame_of_reference_is_refused(write, read):
    path = write("s.dcm", {"Left": LEFT})
    header = pydicom.dcmread(path)
    if header.Modality == "SEG":
        header.FrameOfReferenceUID = "1.2.3"
    else:
        header.ReferencedFrameOfReferenceSequence[0].FrameOfReferenceUID = "1.2.3"
    header.save_as(path)
    with pytest.raises(InputError, match=r"s.dcm must lie in the frame of reference of its image, got another one"):
        read({"Left": 1}, "s.dcm")


def test_a_single_structure_of_another_frame_of_reference_is_refused_if_wanted(tmp_path, slices, read):
    write_rtstruct(tmp_path / "raw" / "rs.dcm", slices, {"Left": contours(LEFT), "PET": contours(RIGHT)})
    header = pydicom.dcmread(tmp_path / "raw" / "rs.dcm")
    header.StructureSetROISequence[1].ReferencedFrameOfReferenceUID = "1.2.3"
    header.save_as(tmp_path / "raw" / "rs.dcm")
    np.testing.assert_array_equal(read({"Left": 1}, "rs.dcm").data, LEFT)
    with pytest.raises(InputError, match="frame of reference"):
        read({"Left": 1, "PET": 2}, "rs.dcm")


def test_a_segmentation_whose_frames_have_no_dimensions_is_refused(tmp_path, slices, read):
    write_seg(tmp_path / "raw" / "s.dcm", slices, {"Left": LEFT})
    header = pydicom.dcmread(tmp_path / "raw" / "s.dcm")
    header.DimensionIndexSequence = []  # highdicom looks them up in a database of its own
    header.save_as(tmp_path / "raw" / "s.dcm")
    with pytest.raises(InputError, match=r"s.dcm must be a complete SEG, got an unreadable one"):
        read({"Left": 1}, "s.dcm")


@pytest.mark.parametrize("kind", ["FRACTIONAL", "LABELMAP"])
def test_fractional_segments_and_label_maps(tmp_path, slices, read, kind):
    shares = np.stack([LEFT * 0.7 + RIGHT * 0.3, RIGHT * 0.7], -1).transpose(2, 1, 0, 3)
    described = [
        highdicom.seg.SegmentDescription(i, name, codes.SCT.Organ, codes.SCT.Liver, "MANUAL")
        for i, name in enumerate(("Left", "Right"), 1)
    ]
    pixels = shares if kind == "FRACTIONAL" else (LEFT * 1 + RIGHT * 2).transpose(2, 1, 0).astype(np.uint8)
    uids = {key: pydicom.uid.generate_uid() for key in ("series_instance_uid", "sop_instance_uid")}
    names = dict.fromkeys(("manufacturer", "manufacturer_model_name", "software_versions"), "test")
    highdicom.seg.Segmentation(
        slices, pixels, kind, described, series_number=9, instance_number=1, device_serial_number="1", **uids, **names
    ).save_as(tmp_path / "raw" / "seg.dcm")
    label = read({"Left": 1, "Right": 2}, "seg.dcm")
    np.testing.assert_array_equal(label.data, LEFT * 1 + RIGHT * 2)
    said = [f"structure {name!r} of seg.dcm: fractional, cut at one half" for name in ("Left", "Right")]
    assert label.flags == (said if kind == "FRACTIONAL" else [])


def test_voxels_of_a_segment_outside_the_image_are_said(tmp_path, slices, read):
    write_seg(tmp_path / "raw" / "seg.dcm", slices, {"Left": LEFT})
    for k in (1, 2):
        (tmp_path / "raw" / "ct" / f"{7 * k:03d}.dcm").unlink()
    (tmp_path / "raw" / "ct" / "000.dcm").unlink()
    image = read_scan(tmp_path / "raw" / "ct" / "021.dcm")
    label = read_structures((tmp_path / "raw" / "seg.dcm",), image, {"Left": 1})
    np.testing.assert_array_equal(label.data, LEFT[:, :, 3:])
    assert label.flags == ["structure 'Left' of seg.dcm: 25 voxels outside the image, left out"]


def test_a_segmentation_with_slices_far_apart_is_refused_before_it_takes_memory(tmp_path):
    slices = write_series(tmp_path / "ct", np.random.default_rng(0).integers(0, 2000, SHAPE))
    image = read_scan(tmp_path / "ct" / "000.dcm")
    path = tmp_path / "seg.dcm"
    write_seg(path, slices, {"GTV": box((2, 5), (2, 5), (0, 4))})
    header = pydicom.dcmread(path)
    position = header.PerFrameFunctionalGroupsSequence[-1].PlanePositionSequence[0]
    position.ImagePositionPatient = [*position.ImagePositionPatient[:2], 2.5e8 - 100]
    header.save_as(path)
    with pytest.raises(InputError, match=r"seg\.dcm must lie on the voxels of its image, got slices far apart"):
        read_structures((path,), image, {"GTV": 1})
