"""Contours of an RTSTRUCT filled, next to a test of every pixel centre by counting crossings."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from imaseg.data.formats import dicom_contours
from imaseg.data.formats.dicom_labels import read_structures
from imaseg.data.formats.read import read_scan
from imaseg.errors import InputError

from ..dicom_writer import SPACING, write_rtstruct, write_series

SHAPE = (44, 36, 8)
STEP = 2.5
ORIGIN = np.array([-20.0, 30.0, -100.0])


def circle(k, radius, centre=(15.13, 16.27), n=60) -> np.ndarray:
    """Points in mm, relative to the first voxel, in the plane of slice `k`, which may lie between slices."""
    angles = np.linspace(0, 2 * np.pi, n, endpoint=False)
    x, y = centre[0] + radius * np.cos(angles), centre[1] + radius * np.sin(angles)
    return np.stack([x, y, np.full(n, STEP * k)], -1)


def enclosed(*contours: np.ndarray) -> np.ndarray:
    """(X, Y): whether a ray from each pixel centre crosses the contours an odd number of times."""
    x, y = np.meshgrid(np.arange(SHAPE[0]) * SPACING[1], np.arange(SHAPE[1]) * SPACING[0], indexing="ij")
    crossings = np.zeros(x.shape, int)
    for points in contours:
        for (x0, y0), (x1, y1) in zip(points[:, :2], np.roll(points[:, :2], -1, axis=0), strict=True):
            if y0 != y1:
                spans = (y0 > y) != (y1 > y)
                crossings += spans & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return crossings % 2 == 1


def keyhole(outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """One contour that goes round the outer, in along a channel of no width, round the inner, and out again."""
    return np.concatenate([outer, outer[:1], inner[::-1], inner[-1:]])


@pytest.fixture
def fill(tmp_path):
    slices = write_series(tmp_path / "ct", np.random.default_rng(0).integers(0, 2000, SHAPE))
    image = read_scan(tmp_path / "ct" / "000.dcm")

    def filled(*contours, values=None, **more):
        drawn = [points + ORIGIN for points in contours]
        write_rtstruct(tmp_path / "rs.dcm", slices, {"GTV": drawn}, **more)
        label = read_structures((tmp_path / "rs.dcm",), image, values or {"GTV": 1})
        return label.data == 1, [flag.removeprefix("structure 'GTV' of rs.dcm: ") for flag in label.flags]

    return filled


def test_a_contour_is_what_its_pixel_centres_say(fill):
    star = circle(3, 1.0, n=14)
    star[::2, :2] = circle(3, 12.0, n=14)[::2, :2]
    star[1::2, :2] = circle(3, 5.0, n=14)[1::2, :2]
    mask, flags = fill(star)
    np.testing.assert_array_equal(mask[:, :, 3], enclosed(star))
    assert mask[:, :, 3].any()
    assert not mask[:, :, [0, 1, 2, 4, 5, 6, 7]].any()
    assert flags == []


@pytest.mark.parametrize("kind", ["CLOSED_PLANAR", "CLOSEDPLANAR_XOR"])
def test_holes_and_islands_by_any_way_of_drawing_them(fill, kind):
    rings = [circle(3, radius) for radius in (12, 8, 4)]
    mask, flags = fill(*rings[::-1], kind=kind)
    np.testing.assert_array_equal(mask[:, :, 3], enclosed(*rings))
    assert flags == []


def test_a_keyhole_is_a_hole(fill):
    outer, inner = circle(3, 12), circle(3, 6)
    mask, flags = fill(keyhole(outer, inner))
    np.testing.assert_array_equal(mask[:, :, 3], enclosed(outer, inner))
    assert flags == []


@pytest.mark.parametrize("kind", ["CLOSED_PLANAR", "CLOSEDPLANAR_XOR"])
@pytest.mark.parametrize(
    "again",
    [
        lambda points: points,
        lambda points: points[::-1],
        lambda points: np.roll(points, 17, axis=0),
        lambda points: points + np.array([0.2, -0.2, 0.05]),
        lambda points: circle(3, 12, n=90),
    ],
)
def test_a_contour_given_twice_counts_once(fill, again, kind):
    mask, flags = fill(circle(2, 10), circle(3, 12), again(circle(3, 12)), kind=kind)
    np.testing.assert_array_equal(mask[:, :, 3], enclosed(circle(3, 12)))
    np.testing.assert_array_equal(mask[:, :, 2], enclosed(circle(2, 10)))
    assert flags == ["contours given twice, counted once (1)"]


@pytest.mark.parametrize("inner", [circle(3, 11), circle(3, 11.87, n=4)])
def test_a_hole_is_no_contour_given_twice(fill, inner):
    outer = circle(3, 12)
    mask, flags = fill(outer, inner)
    np.testing.assert_array_equal(mask[:, :, 3], enclosed(outer, inner))
    assert flags == []


def test_contours_that_cross_are_joined_and_an_overhanging_hole_stays_a_hole(fill):
    left, right = circle(3, 7, (10, 16)), circle(3, 6, (19, 16))
    mask, flags = fill(left, right)
    np.testing.assert_array_equal(mask[:, :, 3], enclosed(left) | enclosed(right))
    assert flags == ["contours that cross others (1)"]
    outer, hole = circle(3, 12), circle(3, 5, (22.6, 16.2))
    mask, flags = fill(outer, hole)
    np.testing.assert_array_equal(mask[:, :, 3], enclosed(outer) & ~enclosed(hole))
    assert flags == ["contours that cross others (1)"]


def test_on_a_finer_grid_each_slice_takes_the_nearest_plane(fill):
    planes = np.arange(1.8, 5.0, 0.4)  # 1.8 2.2 2.6 3.0 3.4 3.8 4.2 4.6
    drawn = [circle(k, 4 + k) for k in planes]
    mask, flags = fill(*drawn)
    for number, plane in ((2, 1.8), (3, 3.0), (4, 3.8), (5, 4.6)):
        nearest = [k for k in planes if abs(abs(k - number) - abs(plane - number)) < 1e-9]
        areas = [enclosed(circle(k, 4 + k)) for k in nearest]
        assert any(np.array_equal(mask[:, :, number], area) for area in areas)
    assert not mask[:, :, [0, 1, 6, 7]].any()
    assert flags == [
        "contours between slices, left out since others are nearer (4)",
        "contours between slices, moved to the nearest (3)",
    ]


def test_planes_half_way_between_slices_move_one_way(fill):
    mask, flags = fill(*[circle(k + 0.5, 10) for k in (1, 2, 3)])
    assert mask.any((0, 1)).tolist() == [False, False, True, True, True, False, False, False]
    assert flags == ["contours between slices, moved to the nearest (3)"]


@pytest.mark.parametrize(("numbers", "skipped"), [((1, 3, 5), 2), ((1, 2, 4, 5), 1), ((0, 1, 6, 7), 0)])
def test_slices_skipped_between_contours_are_said(fill, numbers, skipped):
    mask, flags = fill(*[circle(k, 10) for k in numbers])
    assert np.flatnonzero(mask.any((0, 1))).tolist() == list(numbers)
    assert flags == ([f"slices without contour between others ({skipped})"] if skipped else [])


def test_what_leaves_the_image_is_cut_and_said(fill):
    beside, above = circle(3, 9, (2, 16)), circle(9, 9)
    mask, flags = fill(beside, circle(4, 9), above)
    np.testing.assert_array_equal(mask[:, :, 3], enclosed(beside))
    assert flags == [
        "contours that leave the image, cut at its edge (1)",
        "contours above or below the image, left out (1)",
    ]


def test_points_and_open_lines_mark_nothing(fill):
    mask, flags = fill(circle(3, 9), kind="OPEN_PLANAR")
    assert not mask.any()
    assert flags == ["points or open lines, left out (1)", "structure 'GTV' marks no voxel of the image"]
    mask, flags = fill(circle(3, 9), circle(3, 9, n=60)[:1])
    np.testing.assert_array_equal(mask[:, :, 3], enclosed(circle(3, 9)))
    assert flags == ["points or open lines, left out (1)"]


@pytest.mark.parametrize("share", [0.3, 3.0])
def test_points_off_the_plane_are_refused(fill, share):
    tilted = circle(3, 9)
    tilted[:, 2] += np.linspace(0, share * STEP, len(tilted))
    with pytest.raises(InputError, match=r"rs.dcm must hold contours in the slices of its image, got one across"):
        fill(tilted)


def test_a_structure_without_contours_is_flagged(fill):
    assert fill()[1] == ["structure 'GTV' marks no voxel of the image"]


def test_coordinates_that_are_no_triples_are_one_sentence(fill, tmp_path):
    import pydicom

    fill(circle(3, 9))
    header = pydicom.dcmread(tmp_path / "rs.dcm")
    contour = header.ROIContourSequence[0].ContourSequence[0]
    contour.ContourData = list(contour.ContourData)[:-1]
    header.save_as(tmp_path / "rs.dcm")
    with pytest.raises(InputError, match=r"rs.dcm must be a complete RTSTRUCT, got an unreadable one"):
        read_structures((tmp_path / "rs.dcm",), read_scan(tmp_path / "ct" / "000.dcm"), {"GTV": 1})


@pytest.mark.parametrize(
    ("contours", "sentence"),
    [
        ([circle(3, 8.0, n=1001)], r"rs\.dcm must hold contours of 1000 points at most, got 1001 for 'GTV'\."),
        ([circle(3, 0.1 + 0.01 * i, n=3) for i in range(501)], r"rs\.dcm must hold 500 contours in a slice .* got 501"),
    ],
    ids=["points", "contours"],
)
def test_absurd_numbers_are_refused(fill, contours, sentence, monkeypatch):
    monkeypatch.setattr(dicom_contours, "_POINTS", 1000)  # what pydicom writes cannot hold more than 2000
    with pytest.raises(InputError, match=sentence):
        fill(*contours)


def test_comparing_large_contours_takes_little_memory(fill):
    """The distances of all points from all sides would take gigabytes."""
    tracemalloc.start()
    mask, notes = fill(circle(3, 8.0, n=2000), circle(3, 8.0001, n=2001))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert notes == ["contours given twice, counted once (1)"]
    assert mask[:, :, 3].tolist() == enclosed(circle(3, 8.0)).tolist()
    assert most < 100e6


def test_contours_of_many_slices_take_the_memory_of_one(tmp_path):
    slices = write_series(tmp_path / "ct", np.zeros((200, 200, 24)))
    image = read_scan(tmp_path / "ct" / "000.dcm")
    drawn = [circle(k, 1.0 + 0.01 * i, n=4) + ORIGIN for k in range(24) for i in range(30)]
    write_rtstruct(tmp_path / "rs.dcm", slices, {"GTV": drawn})
    read_structures((tmp_path / "rs.dcm",), image, {"GTV": 1})
    tracemalloc.start()
    read_structures((tmp_path / "rs.dcm",), image, {"GTV": 1})
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 720 * 200 * 200 / 2
