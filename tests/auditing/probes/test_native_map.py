"""Maps on the native grid, against coordinates in mm."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from imaseg import load_cases, load_model
from imaseg.auditing.inputs.source import CaseSource, Loaded
from imaseg.auditing.probes.maps import on_native_grid, write_map
from imaseg.data.volume import Volume


def loaded(native, prepared):
    volumes = [Volume("a", np.zeros((1, *shape), np.float32), None, affine) for shape, affine in (native, prepared)]
    return Loaded(*volumes, [], None)


def centres(shape, affine):
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    return index @ affine[:3, :3].T + affine[:3, 3]


def turned(angle):
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


@pytest.mark.parametrize("angle", [0.0, 0.3])
def test_each_native_voxel_takes_the_nearest_prepared_one(angle):
    rotation = turned(angle)
    here, there = np.eye(4), np.eye(4)
    # Native: axes z, -x, y with voxels of 2.1, 0.9 and 1.3 mm. Prepared: x, y, z of 1.2 mm, a part of it.
    here[:3, :3] = rotation @ np.array([[0, -0.9, 0], [0, 0, 1.3], [2.1, 0, 0]])
    here[:3, 3] = rotation @ [12.0, -3.0, 5.0]
    there[:3, :3] = rotation * 1.2
    there[:3, 3] = rotation @ [2.05, 0.1, 8.15]
    values = np.random.default_rng(0).random((6, 5, 7)).astype(np.float32)
    found = on_native_grid(values, loaded(((9, 14, 11), here), (values.shape, there)))
    assert found.shape == (9, 14, 11)
    prepared = centres(values.shape, there).reshape(-1, 3)
    box = np.array(values.shape) / 2 * 1.2
    middle = rotation.T @ prepared.mean(0)
    some = 0
    for place, point in zip(np.ndindex(found.shape), centres(found.shape, here).reshape(-1, 3), strict=True):
        if (np.abs(rotation.T @ point - middle) < box - 1e-9).all():
            assert found[place] == values.reshape(-1)[np.linalg.norm(prepared - point, axis=1).argmin()]
            some += 1
        else:
            assert np.isnan(found[place])
    assert some > 100


def test_without_resampling_every_value_is_kept(raw_phantom, tiny_run):
    model = load_model(tiny_run)
    model.card.recipe = model.card.recipe | {"spacing": None}
    source = CaseSource(load_cases(raw_phantom), model.card)
    for case in load_cases(raw_phantom):
        one = source.load(case)
        found = on_native_grid(one.label.astype(np.float32), one)
        known = np.isfinite(found)
        assert known.sum() == one.label.size
        np.testing.assert_array_equal(found[known], one.native_label[known])


def test_the_file_overlays_the_image(raw_phantom, tiny_run, tmp_path):
    source = CaseSource(load_cases(raw_phantom), load_model(tiny_run).card)
    for case in load_cases(raw_phantom).select(["phantom_005", "phantom_006"]):
        one = source.load(case)
        write_map(tmp_path / "a" / "map.nii.gz", (one.label > 0) * 1.5, one)
        image, written = nib.load(case.image[0]), nib.load(tmp_path / "a" / "map.nii.gz")
        assert written.shape == image.shape
        np.testing.assert_allclose(written.affine, image.affine, atol=1e-5)
        assert written.get_data_dtype() == np.float32
        painted, label = np.asarray(written.dataobj) > 0, one.native_label > 0
        assert 2 * (painted & label).sum() / (painted.sum() + label.sum()) > 0.9
