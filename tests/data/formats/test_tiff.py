"""TIFF stacks, written by tifffile and Pillow, are read whole and with the voxel size that lies beside them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile
from PIL import Image

from imaseg.data.files import files_behind
from imaseg.data.formats.read import read_scan
from imaseg.errors import InputError

STACK = np.random.default_rng(0).integers(0, 255, (8, 6, 5)).astype(np.uint8)
"""Slices, rows, columns; of 3 or 4 slices tifffile would make colours."""


def read(path):
    return read_scan(path, dtype=None)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"compression": "zlib"},
        {"imagej": True, "metadata": {"axes": "ZYX"}},
        {"volumetric": True, "tile": (16, 16, 16)},
        {"truncate": True},
        {"photometric": "minisblack", "contiguous": False},
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_stack_is_read_whole_however_it_is_stored(tmp_path, settings, dtype):
    tifffile.imwrite(tmp_path / "x.tif", STACK.astype(dtype) * dtype(3), **settings)
    np.testing.assert_array_equal(read(tmp_path / "x.tif").data, (STACK.astype(dtype) * dtype(3)).T)


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "packbits", "jpeg"])
def test_pages_of_pillow_are_slices(tmp_path, compression):
    pages = [Image.fromarray(page) for page in STACK]
    pages[0].save(tmp_path / "x.tif", save_all=True, append_images=pages[1:], compression=compression)
    data = read(tmp_path / "x.tif").data
    assert data.shape == STACK.T.shape
    if compression != "jpeg":
        np.testing.assert_array_equal(data, STACK.T)


def test_pages_written_one_by_one_are_slices(tmp_path):
    with tifffile.TiffWriter(tmp_path / "x.tif") as file:
        for page in STACK:
            file.write(page)
    np.testing.assert_array_equal(read(tmp_path / "x.tif").data, STACK.T)


def test_colours_of_sixteen_bits_keep_them(tmp_path):
    colours = np.random.default_rng(0).integers(0, 65535, (6, 5, 3)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "x.tif", colours, photometric="rgb")
    np.testing.assert_array_equal(read(tmp_path / "x.tif").data[:, :, 0], colours.swapaxes(0, 1))


def test_what_is_no_single_stack_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "c.tif", STACK.reshape(4, 2, 6, 5), imagej=True, metadata={"axes": "ZCYX"})
    with pytest.raises(InputError, match=r"one stack of slices, got 4 along Z and 2 along C"):
        read(tmp_path / "c.tif")
    tifffile.imwrite(tmp_path / "t.tif", STACK, imagej=True, metadata={"axes": "TYX"})
    with pytest.raises(InputError, match=r"one stack of slices, got 8 along T"):
        read(tmp_path / "t.tif")
    with tifffile.TiffWriter(tmp_path / "s.tif") as file:
        for page in (STACK[0], STACK[0, :3]):
            file.write(page)
    with pytest.raises(InputError, match="pages of one size"):
        read(tmp_path / "s.tif")


@pytest.mark.parametrize(
    ("image", "beside"), [("a_0000.tif", "a.json"), ("a.tif", "a.json"), ("b_0000.tif", "b_0000.json")]
)
def test_the_voxel_size_lies_in_a_json_file_as_nnunet_reads_it(tmp_path, image, beside):
    nnunet = pytest.importorskip("nnunetv2.imageio.tif_reader_writer").Tiff3DIO()
    tifffile.imwrite(tmp_path / image, STACK)
    (tmp_path / beside).write_text(json.dumps({"spacing": [4.0, 0.5, 0.25]}))
    scan = read(tmp_path / image)
    np.testing.assert_allclose(scan.affine, np.diag([-0.25, -0.5, 4.0, 1.0]))
    assert scan.pixdim == (0.25, 0.5, 4.0)
    assert scan.flags == []
    assert files_behind(tmp_path / image) == [tmp_path / image, tmp_path / beside]
    if image == "a_0000.tif":
        array, properties = nnunet.read_images([str(tmp_path / image)])
        np.testing.assert_array_equal(scan.data, array[0].T)
        assert properties["spacing"] == [4.0, 0.5, 0.25]


def test_without_one_a_stack_is_flagged_and_a_picture_is_not(tmp_path):
    tifffile.imwrite(tmp_path / "x.tif", STACK)
    (tmp_path / "x.json").write_text(json.dumps({"operator": "K"}))
    assert read(tmp_path / "x.tif").flags == ["nothing states its voxel size: 1 mm assumed"]
    tifffile.imwrite(tmp_path / "y.tif", STACK[0])
    assert read(tmp_path / "y.tif").flags == []


@pytest.mark.parametrize("spacing", [[1, 2], [0, 1, 1], "1 1 1", [1, 1, True], [1, 1, float("inf")]])
def test_a_voxel_size_that_is_none_is_refused(tmp_path, spacing):
    tifffile.imwrite(tmp_path / "x.tif", STACK)
    (tmp_path / "x.json").write_text(json.dumps({"spacing": spacing}))
    with pytest.raises(InputError, match=r"spacing in .*x.json must be three numbers above 0"):
        read(tmp_path / "x.tif")
