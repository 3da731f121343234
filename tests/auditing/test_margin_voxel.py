"""Voxel maps of the command against the ruler and against coordinates; files read back with nibabel."""

from __future__ import annotations

import csv
import json

import nibabel as nib
import numpy as np
import pytest
from imaseg.auditing.margin_cases import margin_cases
from imaseg.auditing.margin_settings import Ceiling, MarginSettings
from imaseg.auditing.margin_voxel import distance_to_boundary
from imaseg.auditing.source import CaseSource

from imaseg import InputError, load_cases
from tests.auditing.margin_ruler import distances, ruler

CASE = "phantom_005"
QUICK = {"steps": 2, "rtol": 0.9, "focus": 8}


def settings(*sets, **more):
    return MarginSettings(tuple(Ceiling.parse(text) for text in sets), **QUICK | more)


@pytest.fixture(scope="module")
def done(tiny_run, raw_phantom, tmp_path_factory):
    how = settings("linf:0.5", voxel=("attack", "gradient"), certify=0.05)
    out = tmp_path_factory.mktemp("voxel") / "a"
    return margin_cases(ruler(tiny_run), raw_phantom, how, out, select=[CASE])


@pytest.fixture(scope="module")
def loaded(tiny_run, raw_phantom):
    cases = load_cases(raw_phantom).select([CASE])
    return CaseSource(cases, ruler(tiny_run).card).load(cases[0])


def written(done, folder):
    return nib.load(done.folder / folder / f"{CASE}.nii.gz")


def world(shape, affine):
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    return index @ affine[:3, :3].T + affine[:3, 3]


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
    maps = done.content["voxel_maps"]
    assert maps["values"]["outside of what the model saw"] == "NaN"
    compared = {(one["method"], one["where"]): one for one in maps["against_attack"]}
    assert compared.keys() == {("gradient", "structures"), ("gradient", "background")}
    for one in compared.values():
        assert one["voxels"] > 50
        assert 0.7 < one["ratio"] < 1.01
        assert one["spearman"] > 0.8


def test_slices_lie_beside_the_record_and_a_lost_map_is_made_again(done, tiny_run, raw_phantom):
    record = json.loads((done.folder / "cases" / f"{CASE}.json").read_text())
    assert f"cases/{CASE}.npz" in record["files"]
    with np.load(done.folder / "cases" / f"{CASE}.npz") as view:
        assert {"map_0", "map_1", "map_2"} <= set(view.files)
        assert view["image"].shape == view["map_0"].shape
        assert len(view["places"]) <= 24
    lost = done.folder / "voxel_margins" / "linf" / f"{CASE}.nii.gz"
    before = lost.read_bytes()
    lost.unlink()
    how = settings("linf:0.5", voxel=("attack", "gradient"), certify=0.05)
    margin_cases(ruler(tiny_run), raw_phantom, how, done.folder, select=[CASE], resume=True)
    assert lost.read_bytes() == before


@pytest.mark.slow
def test_an_attack_on_the_smoothed_model_lies_above_its_certificates(tiny_run, prepared_phantom, tmp_path):
    how = settings("l2:0.5", voxel=("attack",), certify=0.05, focus=2)
    done = margin_cases(ruler(tiny_run), prepared_phantom, how, tmp_path / "a", select=[CASE])
    (one,) = done.content["voxel_maps"]["against_attack"]
    assert (one["method"], one["where"]) == ("certified", "structures")
    assert one["voxels"] > 10
    assert 0 < one["lower"] < one["upper"]
    assert one["gap"] == pytest.approx(one["upper"] - one["lower"], rel=0.5)
    assert one["violations"] <= 0.01 * one["voxels"]


@pytest.mark.slow
def test_sets_that_the_estimate_does_not_know_get_the_attack_alone(tiny_run, prepared_phantom, tmp_path):
    both = settings("deformation:1", voxel=("attack", "gradient"), voxel_sets=("deformation",), focus=0)
    done = margin_cases(ruler(tiny_run), prepared_phantom, both, tmp_path / "a", select=[CASE])
    assert {row["method"] for row in rows(done)} == {"attack"}


def test_settings_of_maps_that_do_not_fit_are_refused_first(tiny_run, prepared_phantom, tmp_path):
    for how, text in (
        (settings("linf", voxel=("attack",), focus=-1), "focus must be a whole number >= 0"),
        (settings("linf", certify=-1.0), "sigma must be finite and > 0"),
        (settings("linf", certify=0.1, samples=0), "samples must be a whole number >= 1"),
    ):
        with pytest.raises(InputError, match=text):
            margin_cases(ruler(tiny_run), prepared_phantom, how, tmp_path / "a", select=[CASE])
    assert not (tmp_path / "a").exists()
