from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from imaseg.errors import InputError
from imaseg.report.margin_slides import colour_scale
from imaseg.report.read import read_audits
from imaseg.report.voxels import _map, _view, read_volume, voxel_viewers
from imaseg.report.words import main_series
from tests.report.audit_parts import write_voxels


def shown(audits):
    from imaseg.report.compare import strongest

    return voxel_viewers(audits, main_series(audits, strongest(audits)))


def pixels(address):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.split(",")[1]))).convert("RGB")).astype(int)


def test_one_audit_shows_its_stored_cases_the_first_to_fail_first(write_audit):
    (audit,) = read_audits([write_audit(cases=3, parts=True)])
    viewers = shown([audit])
    assert sorted(one.title for one in viewers) == ["case_000: L2 ball", "case_001: L2 ball"]
    assert all(one.group == "" and len(one.slides) > 3 for one in viewers)
    assert sorted(audit.slices) == ["case_000", "case_001", "case_002"]


def test_models_share_case_slices_and_colours(write_audit):
    audits = read_audits([write_audit("a", cases=2, parts=True), write_audit("b", cases=2, parts=True)])
    first, second = shown(audits)
    assert first.title.startswith("a, case_00")
    assert second.title.startswith("b, case_00")
    assert first.group == second.group == first.title.removeprefix("a, ").split(":")[0]
    assert first.scale == second.scale
    assert [one.said.split(":")[0] for one in first.slides] == [one.said.split(":")[0] for one in second.slides]
    assert first.key != second.key


def test_units_that_differ_are_not_drawn_on_one_scale(write_audit):
    def edit(summary, run):
        summary["voxel_margins"].update(unit="max", perturbation="linf")

    audits = read_audits([write_audit("a", cases=2, parts=True), write_audit("b", cases=2, parts=True, edit=edit)])
    assert [one.group for one in shown(audits)] == ["", ""]
    assert [one.unit for one in shown(audits)] == ["RMS per voxel", "largest change per voxel"]


def test_slices_hold_margins_as_stored_and_the_limit_where_nothing_flipped(write_audit, tmp_path):
    (audit,) = read_audits([write_audit(cases=2, parts=True)])
    label, margin, censored = write_voxels(tmp_path / "a.npz", 3, shape=(9, 7, 5))
    view = _view(read_volume(tmp_path / "a.npz"), _map(audit.summary.voxel_margins), 2, np.arange(5))
    # a viewer shows rows downwards: the second axis up, the first to the right
    back = np.moveaxis(np.rot90(view["margin"], -1, axes=(1, 2)), 0, 2)
    assert np.allclose(back[~censored], margin[~censored], atol=2e-4)
    assert (back[censored] == 0.2).all()
    assert (back[~censored] < 0.2).all()
    assert back[4, 3, 2] == 0
    assert (np.moveaxis(np.rot90(view["label"], -1, axes=(1, 2)), 0, 2) == label).all()
    assert 0 < colour_scale(view, [_map(audit.summary.voxel_margins)]) <= 0.2


def test_a_voxel_that_is_wrong_unattacked_has_its_own_colour(write_audit):
    (audit,) = read_audits([write_audit(cases=2, parts=True)])
    viewer = shown([audit])[0]
    with_it = [slide for slide in viewer.slides if "(z = 6)" in slide.said]
    wrong = [(np.abs(pixels(one.panels[1].image) - [0, 235, 235]).sum(2) < 40).any() for one in with_it]
    others = [s for s in viewer.slides if "(z = 6)" not in s.said]
    assert wrong == [True]
    assert not any((np.abs(pixels(one.panels[1].image) - [0, 235, 235]).sum(2) < 40).any() for one in others)


def test_slices_lie_across_thick_voxels(write_audit):
    folder = write_audit(cases=2, parts=True)
    for path in folder.glob("cases/*.voxel_margin.npz"):
        write_voxels(path, 0, spacing=(4.0, 1.0, 1.0))
    (audit,) = read_audits([folder])
    assert all("(x = " in slide.said for viewer in shown([audit]) for slide in viewer.slides)


def test_flat_images_have_one_slice(write_audit):
    folder = write_audit(cases=2, parts=True)
    for path in folder.glob("cases/*.voxel_margin.npz"):
        write_voxels(path, 0, shape=(20, 18), spacing=(1.0, 1.0))
    assert [len(viewer.slides) for viewer in shown(read_audits([folder]))] == [1, 1]


def test_a_page_of_many_slices_is_thinned(write_audit):
    folders = [write_audit(name, cases=2, parts=True) for name in "abcd"]
    for folder in folders:
        for path in folder.glob("cases/*.voxel_margin.npz"):
            write_voxels(path, 0, shape=(16, 16, 60))
    assert sum(len(viewer.slides) for viewer in shown(read_audits(folders))) <= 32


@pytest.mark.parametrize(
    ("arrays", "said"),
    [({"image": np.zeros((2, 2, 2))}, "must hold image, margin"), (None, "Audit this case again")],
)
def test_a_broken_map_is_named(write_audit, arrays, said):
    folder = write_audit(cases=2, parts=True)
    path = next(folder.glob("cases/*.voxel_margin.npz"))
    np.savez(path, **arrays) if arrays else path.write_bytes(b"PK")
    with pytest.raises(InputError, match=said):
        shown(read_audits([folder]))


def test_shapes_must_agree(write_audit):
    folder = write_audit(cases=2, parts=True)
    path = next(folder.glob("cases/*.voxel_margin.npz"))
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **(arrays | {"label": np.zeros((2, 2, 2), np.uint8)}))
    with pytest.raises(InputError, match=r"volumes of one shape, got \[\(2, 2, 2\)"):
        shown(read_audits([folder]))
