"""Dice on the grid of the files under attacks and corruptions, against audits of what these make of the files."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates
from torch import nn

from imaseg import audit, load_cases
from imaseg.auditing.inputs.source import CaseSource
from imaseg.auditing.plan import Plan
from imaseg.corruptions import Corruption
from imaseg.data import read_volume
from imaseg.models.adapted import adapt
from imaseg.models.card import parse_card
from imaseg.results.attack import AttackRow
from imaseg.results.base import MEAN
from imaseg.results.corruption import CorruptionRow

AFFINE = np.diag([-2.0, -2.0, 3.0, 1.0])
NAMES = {0: "background", 1: "one", 2: "two"}
WIDE = {"orientation": "RAS", "spacing": [4, None, None], "normalise": "none", "crop": None}
SAME = WIDE | {"spacing": None}


def label_map():
    label = np.zeros((26, 20, 12), np.uint8)
    label[4:18, 2:8, 2:10], label[10:24, 12:18, 3:9] = 1, 2
    return label


def cohort(folder, image, label):
    for kind, array in (("imagesTr", image.astype(np.float32)), ("labelsTr", label.astype(np.uint8))):
        (folder / kind).mkdir(parents=True)
        nib.save(nib.Nifti1Image(array, AFFINE), folder / kind / "a.nii.gz")
    described = {"modality": {"0": "MRI"}, "labels": {str(k): name for k, name in NAMES.items()}, "numTraining": 1}
    described["training"] = [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}]
    (folder / "dataset.json").write_text(json.dumps(described))
    return folder


def reader(recipe):
    """A network that reads the class off the grey value: 10 for one, 20 for two."""
    network = nn.Conv3d(1, 3, 1)
    with torch.no_grad():  # 2 k x - k^2 is largest where x is nearest to k
        network.weight[:] = torch.tensor([0.0, 2.0, 4.0]).view(3, 1, 1, 1, 1)
        network.bias[:] = torch.tensor([0.0, -10.0, -40.0])
    return adapt(network, parse_card({"labels": NAMES, "recipe": recipe}, source="x"), kind="card", name="net")


@pytest.fixture
def data(tmp_path):
    """Grey values follow the label, with noise that leaves some voxels wrong."""
    label = label_map()
    noise = np.random.default_rng(0).normal(0, 2.5, label.shape)
    return cohort(tmp_path / "data", 10.0 * label + noise + 0.5, label)


def audited(folder, out, recipe, *probes, reference="label"):
    spec = {"name": "p", "verify": False, "probes": [*probes], "validity": None, "reference": reference}
    return audit(reader(recipe), folder, Plan.model_validate(spec), out, select="all").audit


def corrupt(name, severity=3):
    return {"kind": "corruption", "corruptions": [name], "severities": [severity]}


NOISE = {"attack": "gaussian-noise", "unit": "rms", "eps": [0.01]}


@pytest.mark.parametrize("spacing", [1.5, 3.0, 4.0])
def test_clean_dice_on_the_files_is_that_of_logits_interpolated_in_world_coordinates(spacing, data, tmp_path):
    recipe = WIDE | {"spacing": [spacing, None, None]}
    found = audited(data, tmp_path / "a", recipe, NOISE).cases[0].clean
    model, cases = reader(recipe), load_cases(data)
    prepared = CaseSource(cases, model.card).load(next(iter(cases))).volume
    with torch.no_grad():
        logits = model(torch.from_numpy(prepared.image)[None])[0].numpy()
    voxels = np.stack(np.meshgrid(*map(np.arange, label_map().shape), indexing="ij"))
    place = np.einsum(
        "ij,j...->i...", np.linalg.inv(prepared.affine) @ AFFINE, np.stack([*voxels, np.ones(voxels[0].shape)])
    )
    there = np.stack([map_coordinates(channel, place[:3], order=1, mode="nearest") for channel in logits]).argmax(0)
    for k in (1, 2):
        wanted = 2 * ((there == k) & (label_map() == k)).sum() / ((there == k).sum() + (label_map() == k).sum())
        assert found[str(k)]["native_dice"] == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize("name", ["rician-noise", "rotation", "blur"])
def test_a_corrupted_case_scores_as_the_files_of_the_corrupted_volume_do(name, data, tmp_path):
    case = next(iter(load_cases(data)))
    there = Corruption.build(name, seed=0)(read_volume(case), severity=3, modality=("MRI",)).volume
    written = cohort(tmp_path / "corrupted", there.image[0], there.label)
    wanted = audited(written, tmp_path / "b", WIDE, NOISE).cases[0].clean
    (row,) = audited(data, tmp_path / "a", WIDE, corrupt(name)).cases[0].rows_of(CorruptionRow)
    for k in ("1", "2", MEAN):
        assert row.scores[k]["native_dice"] == pytest.approx(wanted[k]["native_dice"], abs=1e-6)
        assert row.scores[k]["native_dice"] != pytest.approx(row.scores[k]["dice"], abs=1e-4)


@pytest.mark.parametrize("perturbation", ["l2", "deformation"])
def test_where_the_grids_are_one_both_figures_are_one(perturbation, data, tmp_path):
    """Turned axes alone change nothing; a deformation moves the label on both grids."""
    probe = {"attack": "pgd", "perturbation": perturbation, "steps": 3, "eps": [2.0]}
    probe |= {"unit": "mm" if perturbation == "deformation" else "rms"}
    found = audited(data, tmp_path / "a", SAME, probe)
    rows = found.cases[0].rows_of(AttackRow)
    for scores in (found.cases[0].clean, *(row.scores for row in rows)):
        for k in ("1", "2", MEAN):
            assert scores[k]["native_dice"] == pytest.approx(scores[k]["dice"], abs=1e-6)
    assert rows[0].scores[MEAN]["dice"] < found.cases[0].clean[MEAN]["dice"]


def test_an_attack_counts_what_the_crop_leaves_out(tmp_path):
    """A structure outside of the image's nonzero box: half of one and all of two are never seen by the model."""
    label = label_map()
    image = 10.0 * label + 0.5
    image[11:] = 0
    data = cohort(tmp_path / "data", image, label)
    found = audited(data, tmp_path / "a", SAME | {"crop": "foreground", "crop_margin": 0}, NOISE)
    (row,) = found.cases[0].rows_of(AttackRow)
    seen, held = (label[:11] == 1).sum(), (label == 1).sum()
    assert row.scores["1"]["native_dice"] == pytest.approx(2 * seen / (seen + held))
    assert row.scores["1"]["dice"] == pytest.approx(1, abs=0.01)
    two = (label[:11] == 2).sum(), (label == 2).sum()
    expected = (2 * seen / (seen + held) + 2 * two[0] / sum(two)) / 2
    assert row.scores[MEAN]["native_dice"] == pytest.approx(expected)


@pytest.mark.parametrize("recipe", [SAME, WIDE | {"spacing": [1.5, None, None]}])
def test_without_labels_a_turned_image_is_held_against_the_turned_prediction(recipe, tmp_path):
    """The network knows grey values only and turns its prediction with the image: where it stood is another place."""
    plain = cohort(tmp_path / "plain", 10.0 * label_map(), label_map())
    found = audited(plain, tmp_path / "a", recipe, corrupt("rotation", 5), reference="prediction").cases[0]
    (row,) = found.rows_of(CorruptionRow)
    case = next(iter(load_cases(plain)))
    turned = Corruption.build("rotation", seed=0)(read_volume(case), severity=5, modality=("MRI",)).volume.label
    stays = 2 * ((turned == 1) & (label_map() == 1)).sum() / ((turned == 1).sum() + (label_map() == 1).sum())
    assert row.scores["1"]["native_dice"] > stays + 0.03
    assert row.scores["1"]["dice"] > stays + 0.03
    assert found.clean[MEAN]["native_dice"] == found.clean[MEAN]["dice"] == 1


def test_the_truth_of_a_case_without_labels_is_that_of_its_labels(data, tmp_path):
    own = audited(data, tmp_path / "own", WIDE, NOISE, reference="prediction")
    plain = audited(data, tmp_path / "plain", WIDE, NOISE)
    assert own.cases[0].truth == plain.cases[0].clean
    rows = {(r["class"], r["metric"]): r["value"] for r in own.table() if r["probe"] == "truth"}
    assert rows[MEAN, "native_dice"] == plain.summary.native_dice[MEAN]
    assert own.summary.native_dice == {}


def test_without_labels_a_corruption_may_change_what_is_cropped_away(tmp_path):
    """Noise in the dark rim makes the box larger; the case is judged there, by the prediction brought there."""
    image = 10.0 * label_map()
    data = cohort(tmp_path / "data", image, label_map())
    names = ["gaussian-noise", "rotation", "translation", "spikes", "motion"]
    probe = {"kind": "corruption", "corruptions": names, "severities": [1, 5]}
    crop = SAME | {"crop": "foreground", "crop_margin": 0}
    found = audited(data, tmp_path / "a", crop, probe, reference="prediction").cases[0]
    rows = found.rows_of(CorruptionRow)
    assert {row.corruption for row in rows} == {*names}
    for row in rows:
        for k in ("1", "2"):
            assert row.scores[k]["native_dice"] == pytest.approx(row.scores[k]["dice"], abs=0.02)


def test_written_files_and_scores_take_the_mean_over_the_same_structures(tmp_path):
    """Structure two lies outside of the crop: lost on the model's grid, missed on that of the files."""
    label = label_map()
    image = 10.0 * np.where(label == 1, 1, 0)
    data = cohort(tmp_path / "data", image, np.where(np.indices(label.shape)[0] > 20, 2, np.where(label == 1, 1, 0)))
    probe = {"attack": "pgd", "unit": "rms", "eps": [0.001], "steps": 1, "write": "nifti"}
    found = audited(data, tmp_path / "a", SAME | {"crop": "foreground", "crop_margin": 0}, probe).cases[0]
    (row,) = found.rows_of(AttackRow)
    stages = row.written.dice[MEAN]
    assert stages["clean_native"] == pytest.approx(found.clean[MEAN]["native_dice"]) == pytest.approx(0.5)
    assert stages["clean"] == pytest.approx(found.clean[MEAN]["dice"]) == pytest.approx(1)
