"""Pictures as viewers show them, against arrays written by hand and Pillow itself."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageOps

from imaseg.data.cases import Case
from imaseg.data.cohort.survey import survey_case
from imaseg.data.formats.read import read_scan
from imaseg.errors import InputError

COLOURS = np.random.default_rng(0).integers(0, 255, (6, 5, 3)).astype(np.uint8)


def with_exif(path, array, code):
    exif = Image.Exif()
    exif[0x0112] = code
    Image.fromarray(array).save(path, exif=exif)
    return path


def rows(scan):
    """Pixels (rows, columns[, colours]) of a scan of one slice."""
    return scan.data[:, :, 0].swapaxes(0, 1)


@pytest.mark.parametrize("code", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_every_exif_orientation_is_as_pillow_turns_it(tmp_path, code, suffix):
    path = with_exif(tmp_path / f"x{suffix}", COLOURS, code)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(with_exif(tmp_path / "same.png", COLOURS, code))))
    scan = read_scan(path, dtype=None)
    np.testing.assert_array_equal(rows(scan), upright)
    assert scan.flags == ([] if code == 1 else [f"turned as its EXIF orientation ({code}) says"])


def test_a_picture_and_its_mask_are_turned_alike(tmp_path):
    mask = (COLOURS[..., 0] > 100).astype(np.uint8)
    case = Case("a", (with_exif(tmp_path / "i.png", COLOURS, 6),), with_exif(tmp_path / "l.png", mask, 6))
    survey = survey_case(case, None)
    assert survey.reasons == []
    assert not any("drawn on the upright" in flag for flag in survey.flags)


def test_a_mask_without_orientation_beside_a_turned_picture_is_flagged(tmp_path):
    Image.fromarray((COLOURS[..., 0] > 100).astype(np.uint8)).save(tmp_path / "l.png")
    survey = survey_case(Case("a", (with_exif(tmp_path / "i.png", COLOURS, 3),), tmp_path / "l.png"), None)
    assert survey.reasons == []
    assert any("l.png: states no EXIF orientation, " in flag for flag in survey.flags)


def test_shapes_that_disagree_name_the_orientation(tmp_path):
    Image.fromarray((COLOURS[..., 0] > 100).astype(np.uint8)).save(tmp_path / "l.png")
    survey = survey_case(Case("a", (with_exif(tmp_path / "i.png", COLOURS, 6),), tmp_path / "l.png"), None)
    assert "i.png was turned as its EXIF orientation says, the other was not." in survey.reasons[0]


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".ppm", ".tif"])
def test_colours_are_the_same_in_every_lossless_format(tmp_path, suffix):
    Image.fromarray(COLOURS).save(tmp_path / f"x{suffix}")
    np.testing.assert_array_equal(rows(read_scan(tmp_path / f"x{suffix}", dtype=None)), COLOURS)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".pgm", ".gif", ".tif"])
def test_grey_values_are_the_same_in_every_lossless_format(tmp_path, suffix):
    Image.fromarray(COLOURS[..., 0]).save(tmp_path / f"x{suffix}")
    np.testing.assert_array_equal(rows(read_scan(tmp_path / f"x{suffix}", dtype=None)), COLOURS[..., 0])


@pytest.mark.parametrize("largest", [1, 3, 100, 255, 300, 65535])
@pytest.mark.parametrize("plain", [False, True])
def test_a_pgm_holds_the_numbers_in_its_file(tmp_path, largest, plain):
    """Written by hand: the header states the largest number, by which Pillow stretches all to 255 or 65535."""
    numbers = np.array([[0, 1, largest], [largest, largest // 2, 0]])
    if plain:
        body = " ".join(map(str, numbers.ravel())).encode()
    else:
        body = numbers.astype(">u2" if largest > 255 else np.uint8).tobytes()
    (tmp_path / "x.pgm").write_bytes(f"P{2 if plain else 5}\n3 2\n{largest}\n".encode() + body)
    np.testing.assert_array_equal(rows(read_scan(tmp_path / "x.pgm", dtype=None)), numbers)


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp.png"])
def test_an_animation_is_refused(tmp_path, suffix):
    frames = [Image.fromarray(np.roll(COLOURS[..., 0], i, 0)) for i in range(3)]
    frames[0].save(tmp_path / f"x{suffix}", save_all=True, append_images=frames[1:])
    with pytest.raises(InputError, match=r"must hold one picture, got an animation of 3"):
        read_scan(tmp_path / f"x{suffix}")


def test_of_a_phones_file_of_two_pictures_the_first_is_read_and_it_says_so(tmp_path):
    first, second = (Image.fromarray(np.full((16, 16), grey, np.uint8)) for grey in (200, 10))
    first.save(tmp_path / "x.mpo", format="MPO", save_all=True, append_images=[second])
    (tmp_path / "x.mpo").rename(tmp_path / "x.jpg")
    scan = read_scan(tmp_path / "x.jpg")
    assert scan.data.mean() == pytest.approx(200, abs=2)
    assert "the first of the 2 pictures in its file" in scan.flags


def palette_picture(path, indices, colours):
    picture = Image.fromarray(indices).convert("P")
    picture.putpalette([number for colour in colours for number in colour])
    picture.save(path)
    assert Image.open(path).mode == "P"
    return path


def test_a_palette_holds_classes_in_a_mask_and_colours_in_an_image(tmp_path):
    indices = np.array([[0, 1], [2, 2]], np.uint8)
    colours = np.array([[0, 0, 0], [128, 0, 0], [0, 128, 0]])
    path = palette_picture(tmp_path / "m.png", indices, colours)
    np.testing.assert_array_equal(rows(read_scan(path, dtype=None, label=True)), indices)
    np.testing.assert_array_equal(rows(read_scan(path, dtype=None)), colours[indices])


def test_a_black_and_white_palette_that_begins_with_white_is_read_by_its_grey_values(tmp_path):
    indices = np.array([[0, 1], [1, 1]], np.uint8)
    path = palette_picture(tmp_path / "m.png", indices, [[255] * 3, [0] * 3])
    np.testing.assert_array_equal(rows(read_scan(path, dtype=None, label=True)), [[255, 0], [0, 0]])


def test_a_palette_whose_background_has_a_colour_is_flagged(tmp_path):
    path = palette_picture(tmp_path / "m.png", np.array([[0, 1]], np.uint8), [[120, 20, 20], [0, 200, 0]])
    scan = read_scan(path, dtype=None, label=True)
    np.testing.assert_array_equal(rows(scan), [[0, 1]])
    assert "in which 0 has the colour [120, 20, 20]" in scan.flags[0]


def test_a_mask_that_may_lie_in_the_transparency_is_refused(tmp_path):
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[2:5, 2:5, 3] = 255
    Image.fromarray(pixels).save(tmp_path / "l.png")
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(tmp_path / "i.png")
    (reason,) = survey_case(Case("a", (tmp_path / "i.png",), tmp_path / "l.png"), None).reasons
    assert "l.png must be opaque, got a transparency that varies" in reason


def test_transparency_is_a_channel_where_four_are_expected(tmp_path):
    pixels = np.random.default_rng(1).integers(0, 255, (6, 5, 4)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "i.png")
    np.testing.assert_array_equal(rows(read_scan(tmp_path / "i.png", dtype=None, alpha=True)), pixels)
    left = read_scan(tmp_path / "i.png", dtype=None)
    np.testing.assert_array_equal(rows(left), pixels[..., :3])
    assert left.flags == ["its transparency is left out"]
