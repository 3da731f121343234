"""What an audit says of how cases reached the model."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from imaseg import audit, load_cases
from imaseg.auditing.inputs.described import match_labels
from imaseg.auditing.inputs.subject import Subject
from imaseg.models.adapted import adapt
from imaseg.models.card import parse_card
from imaseg.models.segmentation import ModelCard, SegmentationModel
from imaseg.report import read_audits
from imaseg.report.evidence import evidence


@pytest.fixture
def cohort(tmp_path):
    """One CT of 2 x 2 x 3 mm in LPS, with the labels 3 liver and 5 spleen."""
    rng = np.random.default_rng(0)
    affine = np.diag([-2.0, -2.0, 3.0, 1.0])
    for kind, array in (
        ("imagesTr", rng.integers(-1000, 1000, (12, 10, 8)).astype(np.int16)),
        ("labelsTr", rng.choice([0, 3, 5], (12, 10, 8)).astype(np.uint8)),
    ):
        (tmp_path / kind).mkdir()
        nib.save(nib.Nifti1Image(array, affine), tmp_path / kind / "a.nii.gz")
    described = {"modality": {"0": "CT"}, "labels": {"0": "background", "3": "Liver", "5": "spleen"}}
    files = [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}]
    (tmp_path / "dataset.json").write_text(json.dumps(described | {"training": files, "numTraining": 1}))
    return load_cases(tmp_path)


def _subject(cohort, reference="label", **card):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.Softmax(1))
    labels = {0: "background", 1: "spleen", 2: "liver", 3: "kidney"}
    parsed = parse_card({"labels": labels, **card}, source="x")
    model = adapt(network, parsed, kind="card", name="net")
    return Subject.of(model, cohort, select="all", device=None, reference=reference)


WINDOW = {
    "orientation": "RAS", "spacing": [4, None, 3], "crop": None, "normalise": "window",
    "window": {"low": -100, "high": 300, "clip": True},
}  # fmt: skip


def test_every_step_is_stated_with_its_figures(cohort):
    told = _subject(cohort, recipe=WINDOW, roi_size=[8, 8, 8], overlap=0.5).preparation()
    assert told.by == "the recipe that the model states, applied by imaseg to each raw case"
    assert told.steps == [
        "axes turned from LPS to RAS",
        "resampled from 2 x 2 x 3 to 4 x 2 x 3 mm (linear)",
        "channel 0: clipped to -100 to 300, less -100, divided by 400 (the same window for all cases)",
    ]
    assert told.tiles == "8 x 8 x 8 voxels, overlap 0.5, weighted by a Gaussian"
    assert told.padding == "with the lowest value of each channel, at both ends of sides that are shorter than a tile"
    assert told.unit == "HU"
    assert told.activation == "softmax, undone so that attacks see logits"
    assert told.example == "a"
    assert told.grid.startswith("the model's grid (6 x 10 x 8 voxels of 4 x 2 x 3 mm in a)")


def test_labels_are_stated_with_the_names_on_both_sides(cohort):
    told = _subject(cohort, recipe=WINDOW).preparation()
    assert [(m.value, m.name, m.structure_name, m.matched) for m in told.labels] == [
        (3, "Liver", "liver", "name"), (5, "spleen", "spleen", "name"),
    ]  # fmt: skip
    assert told.classes_left_out == ["kidney"]


def test_the_card_is_named_where_it_matched_the_labels(cohort):
    told = _subject(cohort, recipe=WINDOW, label_map={3: 3, 5: 2}).preparation()
    assert [(m.value, m.structure_name, m.matched) for m in told.labels] == [
        (3, "kidney", "card"),
        (5, "liver", "card"),
    ]


def test_labels_matched_by_name_are_not_put_down_to_the_card(cohort):
    """Both classes are labelled, under other numbers, so that the model carries a map that no card has stated."""
    torch.manual_seed(0)
    network = nn.Conv3d(1, 3, 3, padding=1)
    card = parse_card({"labels": {0: "background", 1: "spleen", 2: "liver"}, "recipe": WINDOW}, source="x")
    told = Subject.of(adapt(network, card, kind="card", name="net"), cohort, select="all", device=None).preparation()
    assert [(m.value, m.structure, m.matched) for m in told.labels] == [(3, 2, "name"), (5, 1, "name")]


def test_values_inside_regions_are_stated_with_the_regions_around_them(cohort):
    card = parse_card({"regions": {"all": [3, 5], "core": [5]}, "activation": "none", "recipe": WINDOW}, source="x")
    torch.manual_seed(0)
    network = nn.Conv3d(1, 2, 3, padding=1)
    told = Subject.of(adapt(network, card, kind="card", name="net"), cohort, select="all", device=None).preparation()
    assert [(m.value, m.structure_name, m.matched) for m in told.labels] == [
        (3, "all", "number"),
        (5, "core, within all", "number"),
    ]


def test_axes_mapped_labels_and_padding_of_a_2d_network_are_stated(cohort):
    recipe = WINDOW | {"label_map": {3: 2, 5: 1}, "labels": {1: "spleen", 2: "liver"}}
    card = {"labels": {0: "background", 1: "spleen", 2: "liver"}, "axes": "yx", "flip": "x", "divisor": 4}
    parsed = parse_card({**card, "recipe": recipe, "pad_value": 0.5}, source="x")
    torch.manual_seed(0)
    model = adapt(nn.Conv2d(1, 3, 3, padding=1), parsed, kind="card", name="net")
    told = Subject.of(model, cohort, select="all", device=None).preparation()
    assert told.steps[0] == "label values: 3 becomes 2, 5 becomes 1"
    assert told.steps[-1] == "seen by the network as slices across z, with axes y and x, x reversed"
    assert told.padding == "with 0.5, at both ends of sides that are no multiple of 4"
    assert told.tiles == "none: whole slices"


def test_pictures_are_said_to_have_no_size(tmp_path):
    for kind in ("images", "labels"):
        (tmp_path / kind).mkdir()
        array = np.random.default_rng(0).integers(0, 2 if kind == "labels" else 255, (16, 12)).astype(np.uint8)
        Image.fromarray(array).save(tmp_path / kind / "a.png")
    parsed = parse_card({"labels": {0: "background", 1: "one"}, "recipe": {"normalise": "range"}}, source="x")
    model = adapt(nn.Conv2d(1, 2, 3, padding=1), parsed, kind="card", name="net")
    told = Subject.of(model, load_cases(tmp_path), select="all", device=None).preparation()
    assert "12 x 16 x 1 voxels, whose size the files do not state, so that lengths and volumes are in" in told.grid
    assert "mm" not in told.grid
    assert (told.sized, told.unit) == (False, "grey levels of 255")


def test_pictures_of_sixteen_bits_have_no_known_grey_levels(tmp_path):
    for kind in ("images", "labels"):
        (tmp_path / kind).mkdir()
    Image.fromarray(np.full((16, 12), 900, np.uint16)).save(tmp_path / "images" / "a.png")
    Image.fromarray(np.ones((16, 12), np.uint8)).save(tmp_path / "labels" / "a.png")
    parsed = parse_card({"labels": {0: "background", 1: "one"}, "recipe": {"normalise": "zscore"}}, source="x")
    model = adapt(nn.Conv2d(1, 2, 3, padding=1), parsed, kind="card", name="net")
    assert Subject.of(model, load_cases(tmp_path), select="all", device=None).preparation().unit == "not stated"


def test_dice_on_the_grid_of_the_files_is_that_of_the_decision_taken_there(tmp_path):
    """A network that reads the class off the grey value, on voxels twice as wide: wrong only where a block is cut."""
    label = np.zeros((13, 10, 8), np.uint8)
    label[2:9, 1:4], label[5:12, 6:9, :3] = 1, 2
    for kind, array in (("imagesTr", label.astype(np.float32)), ("labelsTr", label)):
        (tmp_path / kind).mkdir()
        nib.save(nib.Nifti1Image(array, np.diag([-2.0, -2.0, 3.0, 1.0])), tmp_path / kind / "a.nii.gz")
    described = {"modality": {"0": "CT"}, "labels": {"0": "background", "1": "one", "2": "two"}, "numTraining": 1}
    described["training"] = [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}]
    (tmp_path / "dataset.json").write_text(json.dumps(described))
    network = nn.Conv3d(1, 3, 1)
    with torch.no_grad():  # 2 k x - k^2 is largest where x is nearest to k
        network.weight[:] = torch.tensor([0.0, 20.0, 40.0]).view(3, 1, 1, 1, 1)
        network.bias[:] = torch.tensor([0.0, -10.0, -40.0])
    recipe = {"orientation": "RAS", "spacing": [4, None, None], "normalise": "none", "crop": None}
    card = parse_card({"labels": {0: "background", 1: "one", 2: "two"}, "recipe": recipe}, source="x")
    plan = tmp_path / "plan.yaml"
    plan.write_text("name: p\nprobes: [{attack: gaussian-noise, eps: [0.1]}]\n")
    done = audit(adapt(network, card, kind="card", name="net"), tmp_path, plan, tmp_path / "out", select="all")
    told = done.audit.summary.native_dice
    columns = np.linspace(6 - 6 * 2, 6 + 6 * 2, 7)  # middles of the wide voxels, seven around the same centre
    wide = np.stack([[np.interp(x, range(13), row) for x in columns] for row in label[::-1].reshape(13, -1).T])
    back = np.stack([np.interp(range(13), columns, row) for row in wide.T.reshape(7, -1).T]).T.reshape(label.shape)
    seen = np.clip(np.rint(back[::-1]), 0, 2)
    for k in (1, 2):
        wanted = 2 * ((seen == k) & (label == k)).sum() / ((seen == k).sum() + (label == k).sum())
        assert wanted > 0.7
        assert told[str(k)] == pytest.approx(wanted, abs=0.12)
    assert told["foreground_mean"] == pytest.approx(np.mean([told["1"], told["2"]]))
    rows = [row for row in done.audit.table() if (row["probe"], row["metric"]) == ("clean", "native_dice")]
    assert {row["class"]: row["value"] for row in rows} == told
    assert {(row["case"], row["probe"], row["eps"]) for row in rows} == {("a", "clean", 0.0)}
    (accuracy,) = [line for line in evidence(read_audits([done.folder])).splitlines() if "Art. 15(1)" in line]
    assert f"Dice on the grid of the files {told['foreground_mean']:.3f}" in accuracy


def test_that_predictions_are_counted_on_the_grid_of_the_files_is_said(cohort):
    for reference in ("label", "prediction"):
        said = _subject(cohort, reference, recipe=WINDOW).preparation().grid
        assert said.endswith("; Dice of every prediction also on the grid of the files, by interpolated logits")


@pytest.mark.parametrize(("said", "told"), [({}, "the lowest value of each channel"), ({"pad_value": -1}, "-1")])
def test_the_value_that_is_padded_with_is_the_one_of_the_card(cohort, said, told):
    padding = _subject(cohort, recipe=WINDOW, divisor=4, **said).preparation().padding
    assert padding == f"with {told}, at both ends of sides that are no multiple of 4"


def test_names_that_differ_by_a_sign_are_not_said_to_match_by_name():
    """As the match itself tells names apart: a plus is no blank."""
    card = ModelCard(name="net", network={}, labels={0: "background", 1: "T1+"}, in_channels=1, spatial_dims=3)
    model = SegmentationModel(nn.Identity(), card)
    assert [m.matched for m in match_labels(model, model, {1: "t1+"})] == ["name"]
    assert [m.matched for m in match_labels(model, model, {1: "T1"})] == ["number"]
