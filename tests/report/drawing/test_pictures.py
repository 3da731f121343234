from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from imaseg.errors import InputError
from imaseg.report.drawing.pictures import outline_colour, pictures, read_slice


def write(path, *, spacing=(1.0, 1.0), shape=(20, 30), change=0.0, **replaced):
    label = np.zeros(shape, np.uint8)
    label[5:15, 8:20] = 1
    image = np.linspace(0, 1, shape[0] * shape[1], dtype=np.float32).reshape(shape)
    content = {
        "image": image,
        "attacked_image": image + np.float32(change),
        "label": label,
        "clean_prediction": label,
        "attacked_prediction": np.zeros_like(label),
        "spacing": np.array(spacing),
        **replaced,
    }
    np.savez_compressed(path, **{name: array for name, array in content.items() if array is not None})
    return path


def decode(uri):
    head, data = uri.split(",", 1)
    assert head == "data:image/webp;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_pixels_keep_their_size_in_mm(tmp_path):
    for uri in pictures(read_slice(write(tmp_path / "a.npz", spacing=(3.0, 1.0)))):
        width, height = decode(uri).size
        assert height / width == pytest.approx(20 * 3.0 / 30, rel=0.01)


def test_the_scale_is_symmetric_and_zero_is_neutral(tmp_path):
    change = np.zeros((20, 30), np.float32)
    change[:, :10], change[:, 20:] = -0.5, 0.25
    view = read_slice(write(tmp_path / "a.npz", change=change))
    assert view.scale == pytest.approx(0.5, rel=1e-5)
    picture = decode(pictures(view)[1]).convert("RGB")
    width, height = picture.size
    left, middle, right = (picture.getpixel((int(x * width), height // 2)) for x in (0.15, 0.5, 0.85))
    assert left == pytest.approx((33, 102, 172), abs=2)
    assert middle == pytest.approx((247, 247, 247), abs=2)
    assert right == pytest.approx((212, 135, 145), abs=3)


def test_no_change_gives_scale_zero_and_a_neutral_picture(tmp_path):
    view = read_slice(write(tmp_path / "a.npz"))
    assert view.scale == 0.0
    assert decode(pictures(view)[1]).convert("RGB").getextrema() == ((247, 247),) * 3


def colours(uri):
    return {colour for _, colour in decode(uri).convert("RGB").getcolors(1 << 24)}


def near(uri, wanted):
    wanted = tuple(int(wanted[i : i + 2], 16) for i in (1, 3, 5))
    return any(max(abs(a - b) for a, b in zip(colour, wanted, strict=True)) <= 25 for colour in colours(uri))


def test_predictions_are_drawn_where_they_exist(tmp_path):
    clean, _, attacked = pictures(read_slice(write(tmp_path / "a.npz", label=np.zeros((20, 30), np.uint8))))
    assert near(clean, outline_colour(1))
    assert not near(attacked, outline_colour(1))


def test_a_structure_at_the_border_is_closed(tmp_path):
    whole = np.ones((20, 30), np.uint8)
    path = write(tmp_path / "a.npz", clean_prediction=whole, label=np.zeros((20, 30), np.uint8))
    clean, _, _ = pictures(read_slice(path))
    picture = decode(clean).convert("RGB")
    width, height = picture.size
    wanted = tuple(int(outline_colour(1)[i : i + 2], 16) for i in (1, 3, 5))
    for edge in ((width // 2, 0), (width // 2, height - 1), (0, height // 2), (width - 1, height // 2)):
        assert picture.getpixel(edge) == pytest.approx(wanted, abs=40)


def test_constant_and_not_finite_images_are_drawn(tmp_path):
    image = np.full((20, 30), 2.0, np.float32)
    image[0, 0] = np.nan
    assert len(pictures(read_slice(write(tmp_path / "a.npz", image=image, attacked_image=image)))) == 3


def test_truncated_file_is_named(tmp_path):
    path = write(tmp_path / "case_7.npz")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match=r"case_7.npz must hold image.*Audit this case again"):
        read_slice(path)


def test_missing_array_is_named(tmp_path):
    with pytest.raises(InputError, match=r"must hold .*label"):
        read_slice(write(tmp_path / "a.npz", label=None))


def test_differing_shapes_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"one 2D shape, got \[\(20, 30\), \(20, 31\)\]"):
        read_slice(write(tmp_path / "a.npz", label=np.zeros((20, 31), np.uint8)))


@pytest.mark.parametrize("spacing", [(0.0, 1.0), (1.0, np.nan), (1.0,)])
def test_spacing_must_be_positive(tmp_path, spacing):
    with pytest.raises(InputError, match="2 positive spacings in mm"):
        read_slice(write(tmp_path / "a.npz", spacing=spacing))


def test_arrays_that_show_nothing_are_refused(tmp_path):
    with pytest.raises(InputError, match="must hold .*could not convert"):
        read_slice(write(tmp_path / "a.npz", image=np.full((20, 30), "x")))
    names = ("image", "attacked_image", "label", "clean_prediction", "attacked_prediction")
    with pytest.raises(InputError, match=r"one 2D shape, got \[\(0, 0\)\]"):
        read_slice(write(tmp_path / "a.npz", **dict.fromkeys(names, np.zeros((0, 0)))))
