from __future__ import annotations

import base64
import gzip
import struct

import nibabel as nib
import numpy as np
import pytest

from imaseg.errors import InputError
from imaseg.report.drawing import explored
from imaseg.report.drawing.explored import Crop, colours, gain, nifti, read_crop, thinned
from imaseg.report.explorer import explorers
from imaseg.report.sections.worst import build
from tests.report.vary import blocks_of, vary

CLASSES = ("label", "clean_prediction", "attacked_prediction")


def crop(shape=(4, 5, 6), affine=None, **facts):
    rng = np.random.default_rng(0)
    arrays = {
        "image": rng.integers(0, 256, shape).astype(np.uint8),
        "change": rng.integers(-127, 128, shape).astype(np.int8),
    }
    arrays |= {name: rng.integers(0, 3, shape).astype(np.uint8) for name in CLASSES}
    usual = {
        "window": np.array([0.0, 2.0]),
        "scale": np.array(0.5),
        "start": np.array([1, 2, 3]),
        "step": np.ones(3, int),
    }
    return Crop(arrays, usual | {"affine": np.eye(4) if affine is None else affine} | facts)


def volumes(text):
    return nib.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(text)))


def test_the_file_holds_the_frames_and_says_which_voxels_they_are():
    one = crop(step=np.array([1, 2, 1]))
    text, axes = nifti(one)
    image = volumes(text)
    assert struct.unpack_from("<f", gzip.decompress(base64.b64decode(text)), 108) == (352,)  # where voxels begin
    assert image.get_data_dtype() == np.uint8
    assert image.shape == (4, 5, 6, 5)
    assert image.header.get_zooms()[:3] == (1, 2, 1)
    data = np.asarray(image.dataobj)
    assert np.array_equal(data[..., 0], one.arrays["image"])
    assert np.array_equal(data[..., 1].astype(int) - 128, one.arrays["change"])
    assert axes == [{"name": n, "first": f, "by": b} for n, f, b in zip("xyz", (1, 2, 3), (1, 2, 1), strict=True)]
    assert nifti(one) == (text, axes)


def test_a_case_stored_the_other_way_round_is_turned_so_that_left_is_left():
    """Voxel axes point to the head, to the left and to the back, as nibabel's own reorientation says."""
    affine = np.array([[0, -2, 0, 9], [0, 0, -3, 9], [1, 0, 0, 9], [0, 0, 0, 1]], float)
    one = crop(affine=affine)
    text, axes = nifti(one)
    image = volumes(text)
    turned = nib.as_closest_canonical(nib.Nifti1Image(one.arrays["image"], affine))
    assert np.array_equal(np.asarray(image.dataobj)[..., 0], np.asarray(turned.dataobj))
    assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
    assert image.header.get_zooms()[:3] == (2, 3, 1)
    assert axes[0] == {"name": "y", "first": 2 + 4, "by": -1}
    assert axes[2] == {"name": "x", "first": 1, "by": 1}


def test_the_viewer_gets_back_the_attacked_image():
    one = crop()
    low, high = one.facts["window"]
    attacked = one.arrays["image"] / 255 * (high - low) + low + one.arrays["change"] / 127 * float(one.facts["scale"])
    levels = one.arrays["image"] + gain(one) * one.arrays["change"]
    assert np.allclose(levels, (attacked - low) / (high - low) * 255)


def test_large_volumes_are_thinned_along_their_finest_axis():
    one = thinned(crop((40, 40, 10), affine=np.diag([1.0, 1.0, 4.0, 1.0])), 5000)
    assert one.facts["step"].tolist() == [2, 2, 1]
    assert one.arrays["image"].shape == (20, 20, 10)


def test_colour_maps_rise_and_tell_wrong_voxels_from_margins():
    for name, each in colours().items():
        assert each["I"] == sorted(each["I"]), name
        assert (each["I"][0], each["I"][-1]) == (0, 255)
        assert len({len(values) for values in each.values()}) == 1
    margin = colours()["margin"]
    assert [margin[k][-1] for k in "RGB"] == [0, 235, 235]
    assert margin["A"][0] == 0


def test_the_worst_cases_are_there_with_margins_where_they_are_known(tiny):
    (viewer,) = blocks_of(build([tiny]), "explorer")
    shown = [sight.case for sight in blocks_of(build([tiny]), "gallery")[0].sights]
    titles = [case.title for case in viewer.cases]
    assert {*shown} <= {*titles}
    mapped = {case.case for entry in tiny.summary.voxel_margins for case in entry.per_case}
    assert mapped & {*titles}
    for case in viewer.cases:
        kinds = [pane["kind"] for pane in case.look["panes"]]
        assert kinds == ["clean", "attacked", "change", *(["margin"] if case.title in mapped else [])]
        frames = volumes(case.volumes).shape[3]
        assert frames == (6 if case.title in mapped else 5)


def test_several_models_name_their_cases(tiny):
    (viewer,) = blocks_of(build([tiny, vary(tiny, "ima")]), "explorer")
    assert len(viewer.cases) <= 6
    assert {case.title.split(": ")[0] for case in viewer.cases} == {"tiny", "ima"}


def test_an_audit_without_volumes_keeps_its_slices(tiny, monkeypatch):
    monkeypatch.setattr("imaseg.report.explorer.read_crop", lambda path: None)
    section = build([tiny])
    assert blocks_of(section, "explorer") == []
    assert len(blocks_of(section, "gallery")) == 1


@pytest.mark.parametrize(("shape", "shown"), [((4, 5, 6), True), ((4, 5, 1), False)])
def test_a_single_slice_has_no_planes_to_move_through(shape, shown, tmp_path):
    stored = {**crop(shape).arrays, **crop(shape).facts}
    np.savez(tmp_path / "a.npz", **{f"volume_{name}": array for name, array in stored.items()})
    assert (read_crop(tmp_path / "a.npz") is not None) == shown


def test_a_broken_file_is_named(tmp_path):
    np.savez(tmp_path / "a.npz", image=np.zeros((2, 2)))
    assert read_crop(tmp_path / "a.npz") is None
    np.savez(tmp_path / "b.npz", volume_image=np.zeros((2, 2, 2)))
    with pytest.raises(InputError, match=r"b\.npz must hold arrays and the volume of a case, got"):
        read_crop(tmp_path / "b.npz")
    whole = {f"volume_{name}": array for name, array in {**crop().arrays, **crop().facts}.items()}
    np.savez(tmp_path / "c.npz", **whole | {"volume_label": np.zeros((1, 1, 1), np.uint8)})
    with pytest.raises(InputError, match=r"c\.npz must hold volumes of one 3D shape"):
        read_crop(tmp_path / "c.npz")
    assert explored.visible(crop(scale=np.array(0.0))._replace(arrays={"change": np.zeros((2, 2, 2), np.int8)})) == 127


def test_a_single_slice_is_not_shown_in_three_planes(tiny, monkeypatch):
    cases = [(tiny, "phantom_001", "said")]
    assert len(explorers([tiny], cases)) == 1
    monkeypatch.setattr("imaseg.report.explorer.read_crop", lambda path: crop((8, 6, 1)))
    assert explorers([tiny], cases) == []
