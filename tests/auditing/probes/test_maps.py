"""Voxel maps of the command against the ruler and against coordinates; files read back with nibabel."""

from __future__ import annotations

import csv

import nibabel as nib
import numpy as np
import pytest

from imaseg import audit, load_cases
from imaseg.auditing.inputs.source import CaseSource
from imaseg.auditing.probes.maps import distance_to_boundary
from imaseg.auditing.shortcuts import margin_plan
from tests.auditing.ruler import distances, ruler

CASE = "phantom_005"
QUICK = {"steps": 2, "rtol": 0.9, "focus": 8}


def settings(*sets, **more):
    return margin_plan(sets, criterion={"name": "dice-below", "threshold": 0.5}, **QUICK | more)


@pytest.fixture(scope="module")
def done(tiny_run, raw_phantom, tmp_path_factory):
    how = settings("linf:0.5", methods=("attack", "gradient"), certify=0.05)
    out = tmp_path_factory.mktemp("voxel") / "a"
    return audit(ruler(tiny_run), raw_phantom, how, out, select=[CASE])


@pytest.fixture(scope="module")
def loaded(tiny_run, raw_phantom):
    cases = load_cases(raw_phantom).select([CASE])
    return CaseSource(cases, ruler(tiny_run).card).load(cases[0])


def written(done, folder):
    return nib.load(done.folder / folder / f"{CASE}.nii.gz")


def world(shape, affine):
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    return index @ affine[:3, :3].T + affine[:3, 3]


def maps_of(done):
    """Voxel margins by method."""
    ((case,),) = (entry.per_case for entry in done.audit.summary.voxel_margins)
    return {found.method: found for found in case.maps}


def rows(done):
    with (done.folder / "voxel_margins.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("folder", ["linf", "linf-gradient"])
def test_each_voxel_of_the_map_is_as_far_as_the_ruler_says(done, loaded, raw_phantom, folder):
    image = nib.load(raw_phantom / "imagesTr" / f"{CASE}.nii.gz")
    found = written(done, f"voxel_margins/{folder}")
    np.testing.assert_allclose(found.affine, image.affine, atol=1e-5)
    assert found.shape == image.shape
    values = np.asarray(found.dataobj)
    gaps = distances(loaded.volume.image[0], loaded.label)
    to_prepared = np.linalg.inv(loaded.volume.affine)
    place = np.floor(world(found.shape, found.affine) @ to_prepared[:3, :3].T + to_prepared[:3, 3] + 0.5).astype(int)
    inside = ((place >= 0) & (place < gaps.shape)).all(-1)
    assert np.isnan(values[~inside]).all()
    expected = gaps[tuple(place[inside].T)]
    got, wrong = values[inside], np.isnan(expected)
    assert wrong.any()
    assert (got[wrong] == 0).all()
    near = ~wrong & (expected < 0.5)
    assert near.sum() > 500
    if folder == "linf":
        assert (got[near] >= expected[near] * (1 - 1e-5)).all()
        assert np.median(got[near] / expected[near]) < 1.1
        far = ~wrong & (expected > 0.5)
        assert far.any()
        np.testing.assert_array_equal(got[far], np.float32(0.5))
    else:
        assert np.median(got[near] / expected[near]) == pytest.approx(1, abs=0.1)


def test_the_table_counts_what_the_map_holds(done, loaded):
    gaps = distances(loaded.volume.image[0], loaded.label)
    for row in rows(done):
        k = {"background": 0, "Front": 1, "Back": 2}[row["structure"]]
        here = loaded.label == k
        if row["from_mm"]:
            high = float(row["to_mm"] or np.inf)
            away = distance_to_boundary(loaded.label, loaded.volume.spacing)
            here &= (away >= float(row["from_mm"])) & (away < high)
        assert int(row["labelled"]) == here.sum()
        known = gaps[here & np.isfinite(gaps)]
        if row["method"] == "attack":
            assert int(row["right"]) == len(known)
        if row["method"] == "attack" and len(known):
            assert -1e-6 <= float(row["censored"]) - (known > 0.5).mean() < 0.05
            middle = np.sort(np.minimum(known, 0.5))[int(np.ceil(0.5 * len(known))) - 1]
            assert middle * (1 - 1e-5) <= float(row["median"]) <= middle * 1.3
        assert bool(row["certified"]) == (row["method"] == "certified" and row["right"] != "0")
    assert {row["method"] for row in rows(done)} == {"attack", "gradient", "certified"}


def test_distances_are_those_to_the_nearest_other_voxel():
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, (5, 4, 6))
    spacing = (0.7, 1.1, 2.0)
    index = np.argwhere(label >= 0)
    points, flat = index * spacing, label.reshape(-1)
    away = np.linalg.norm(points[:, None] - points[None], axis=-1)
    away[flat[:, None] == flat[None]] = np.inf
    np.testing.assert_allclose(distance_to_boundary(label, spacing).reshape(-1), away.min(1))
    assert np.isinf(distance_to_boundary(np.zeros((2, 2, 2), int), spacing)).all()


def test_certificates_stand_where_noise_cannot_flip(done, loaded):
    values = np.asarray(written(done, "certified").dataobj)
    known = np.isfinite(values)
    gaps = distances(loaded.volume.image[0], loaded.label)
    radius = values[known & (values > 0)]
    # sigma times the normal quantile of 0.75
    np.testing.assert_allclose(radius, 0.05 * 0.67449, rtol=1e-4)
    (row,) = [
        row for row in rows(done) if row["method"] == "certified" and row["structure"] == "Front" and not row["from_mm"]
    ]
    right = gaps[loaded.label == 1]
    # P[no flip] = Phi(gap / sigma): proven far above three quarters, never below.
    least, most = ((right > factor * 0.05).sum() / right.size for factor in (2.5, 0.67))
    assert least <= float(row["certified"]) <= most


def test_the_estimate_is_held_against_the_attack(done):
    maps = maps_of(done)
    assert maps.keys() == {"attack", "gradient"}
    assert maps["attack"].against_attack == {}
    compared = maps["gradient"].against_attack
    assert compared.keys() == {"structures", "background"}
    for one in compared.values():
        assert one.voxels > 50
        assert 0.7 < one.ratio < 1.01
        assert one.spearman > 0.8


def test_the_summary_says_what_is_in_each_map(done):
    for method, found in maps_of(done).items():
        with np.load(done.folder / found.view) as view:
            values, right = view[found.array], view["label"] == view["prediction"]
        assert (found.method, found.perturbation, found.unit, found.eps) == (method, "linf", "max", 0.5)
        assert (found.right, found.censored) == (right.sum(), (np.isinf(values) & right).sum())
        broken = np.sort(values[right & np.isfinite(values)])
        assert found.median == pytest.approx(float(broken[(len(broken) - 1) // 2]), rel=1e-2)
        assert (done.folder / found.file).is_file()


def test_slices_lie_beside_the_record_and_a_lost_map_is_made_again(done, tiny_run, raw_phantom):
    (record,) = done.audit.cases
    for probe, arrays in (("voxel-margin-linf", {"attack", "gradient"}), ("certified-l2", {"certified"})):
        name = f"cases/{CASE}.{probe}.npz"
        assert name in record.files
        with np.load(done.folder / name) as view:
            assert set(view.files) == arrays | {"image", "label", "prediction", "spacing"}
            assert {view[array].shape for array in {*view.files} - {"spacing"}} == {view["image"].shape}
    lost = done.folder / "voxel_margins" / "linf" / f"{CASE}.nii.gz"
    before = lost.read_bytes()
    lost.unlink()
    how = settings("linf:0.5", methods=("attack", "gradient"), certify=0.05)
    audit(ruler(tiny_run), raw_phantom, how, done.folder, select=[CASE], resume=True)
    assert lost.read_bytes() == before


def test_an_attack_on_the_smoothed_model_lies_above_its_certificates(tiny_run, prepared_phantom, tmp_path):
    how = settings("l2:0.5", methods=("attack",), certify=0.05, focus=2)
    done = audit(ruler(tiny_run), prepared_phantom, how, tmp_path / "a", select=[CASE])
    ((found,),) = (case.maps for case in done.audit.summary.certified[0].maps)
    assert found.against_attack.keys() == {"structures"}
    one = found.against_attack["structures"]
    assert one.voxels > 10
    assert 0 < one.lower < one.upper
    assert one.gap == pytest.approx(one.upper - one.lower, rel=0.5)
    assert one.violations <= 0.01 * one.voxels


def test_sets_that_the_estimate_does_not_know_get_the_attack_alone(tiny_run, prepared_phantom, tmp_path):
    both = settings("deformation:1", methods=("attack", "gradient"), focus=0)
    done = audit(ruler(tiny_run), prepared_phantom, both, tmp_path / "a", select=[CASE])
    assert {row["method"] for row in rows(done)} == {"attack"}
