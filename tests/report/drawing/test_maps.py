"""Volumes with voxel maps: read, cut into slices, drawn."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from imaseg.errors import InputError
from imaseg.report.drawing.map_slides import SWATCHES, colour_scale, make_viewer
from imaseg.report.drawing.volumes import cut, read_volumes, telling_places
from imaseg.results.maps import VoxelMap

FOUND = VoxelMap.model_construct(
    perturbation="l2", unit="rms", method="attack", eps=1.0, view="x.npz", array="attack", rms=None
)
PROVED = FOUND.model_copy(update={"method": "certified", "array": "certified", "rms": 0.01, "view": "y.npz"})


def write(folder, *, spacing=(1.0, 1.0, 1.0), shape=(8, 10, 6), **replaced):
    label = np.zeros(shape, np.uint8)
    label[2:5, 3:7, 2:4] = 1
    attack = np.full(shape, np.inf, np.float16)
    attack[2:4, 3:7, 2:4], attack[4, 3:7, 2] = 0.25, 0
    certified = np.where(label, 0.5, 0).astype(np.float16)
    content = {
        "image": np.arange(label.size, dtype=np.float16).reshape(shape), "label": label,
        "prediction": np.roll(label, 1, 1), "spacing": np.array(spacing), "attack": attack, "certified": certified,
        **replaced,
    }  # fmt: skip
    for name in ("x.npz", "y.npz"):
        np.savez(folder / name, **{key: array for key, array in content.items() if array is not None})
    return folder


def pixels(panel):
    picture = Image.open(io.BytesIO(base64.b64decode(panel.image.split(",", 1)[1]))).convert("RGB")
    return np.asarray(picture)


def test_maps_come_from_their_own_files(tmp_path):
    volumes = read_volumes(write(tmp_path), [FOUND, PROVED])
    assert set(volumes.maps) == {"attack", "certified"}
    assert volumes.structures.sum() == 3 * 5 * 2
    (tmp_path / "y.npz").unlink()
    with pytest.raises(InputError, match=r"y\.npz must hold image, label, prediction, certified, spacing"):
        read_volumes(tmp_path, [FOUND, PROVED])


@pytest.mark.parametrize("spacing", [(np.nan, 1.0, 1.0), (0.0, 1.0, 1.0), (1.0, 1.0)])
def test_spacings_must_be_three_positive_ones(tmp_path, spacing):
    with pytest.raises(InputError, match="3 positive spacings in mm"):
        read_volumes(write(tmp_path, spacing=spacing), [FOUND])


def test_what_is_no_number_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"x\.npz must hold image, .*could not convert"):
        read_volumes(write(tmp_path, image=np.full((8, 10, 6), "x")), [FOUND])


def test_broken_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="arrays of one 3D shape"):
        read_volumes(write(tmp_path, label=np.zeros((8, 10, 5), np.uint8)), [FOUND])
    path = write(tmp_path) / "x.npz"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match="Audit this case again"):
        read_volumes(tmp_path, [FOUND])


@pytest.mark.parametrize(("spacing", "axis"), [((1.0, 1.0, 1.0), 2), ((3.0, 1.0, 1.0), 0), ((1.0, 1.4, 1.0), 2)])
def test_slices_lie_across_the_thickest_voxels(tmp_path, spacing, axis):
    assert read_volumes(write(tmp_path, spacing=spacing), [FOUND]).axis == axis


def test_slices_show_structures_and_are_spread_evenly():
    structures = np.zeros((4, 4, 20), bool)
    structures[..., 5:15] = True
    assert telling_places(structures, 2, 99) == list(range(5, 15))
    assert telling_places(structures, 2, 3) == [5, 10, 14] or telling_places(structures, 2, 3) == [5, 9, 14]
    assert telling_places(np.zeros_like(structures), 2, 3) == [10]


def test_a_slice_is_turned_as_viewers_show_it(tmp_path):
    volumes = read_volumes(write(tmp_path, spacing=(1.0, 2.0, 1.0)), [FOUND])
    view = cut(volumes, 2, [2, 3])
    assert view.image.shape == (2, 10, 8)
    assert view.image[0, 0, 0] == volumes.image[0, -1, 2]
    assert view.spacing.tolist() == [2.0, 1.0]
    assert view.axis == 2


def test_colours_tell_flipped_wrong_and_unflipped_voxels_apart(tmp_path):
    view = cut(read_volumes(write(tmp_path), [FOUND, PROVED]), 2, [2, 3])
    scale = colour_scale(view, [FOUND, PROVED])
    assert scale == pytest.approx(0.25)
    viewer = make_viewer("case 1", view, [FOUND, PROVED], scale, model="<a>", group="g")
    assert viewer.key == "slices-l2-case-1--a-"
    assert [slide.said for slide in viewer.slides] == [
        "slice 1 of 2 (z = 2): 8 voxels flip, the first at 0.25",
        "slice 2 of 2 (z = 3): 8 voxels flip, the first at 0.25",
    ]
    _, margin, proof = (pixels(panel) for panel in viewer.slides[0].panels)
    side = margin.shape[0] // 10  # pixels per voxel; x=2 y=4 flips, x=4 y=4 is wrong, x=0 y=0 nothing flips

    def voxel(picture, x, y):
        return picture[int((9 - y + 0.5) * side), int((x + 0.5) * side)].tolist()

    assert f"rgb{tuple(voxel(margin, 4, 4))}" == SWATCHES["wrong unattacked"]
    red, _, blue = voxel(margin, 2, 4)
    assert blue > 90 > red  # the far end of the scale
    assert np.ptp(voxel(margin, 0, 0)) <= 6  # grey
    assert np.argmax(voxel(proof, 2, 4)) == 1
    assert "12 voxels certified" in viewer.slides[0].panels[2].alt


def test_without_flipped_voxels_the_colours_end_at_the_ceiling(tmp_path):
    never = np.full((8, 10, 6), np.inf, np.float16)
    view = cut(read_volumes(write(tmp_path, attack=never), [FOUND]), 2, [2])
    assert colour_scale(view, [FOUND]) == 1.0
    assert "no voxel flips" in make_viewer("c", view, [FOUND], 1.0).slides[0].said
