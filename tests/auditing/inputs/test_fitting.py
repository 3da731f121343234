"""Models and data that were not made for each other."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml
from torch import nn

from imaseg import InputError, load_cases
from imaseg.auditing.inputs.fitting import fit, match
from imaseg.auditing.inputs.source import CaseSource
from imaseg.data import write_nifti
from imaseg.models.adapted import adapt
from imaseg.models.card import parse_card

MODEL = {0: "background", 1: "liver", 2: "Right kidney"}


@pytest.mark.parametrize(
    ("data", "model", "mapping", "told"),
    [
        ({1: "Liver", 2: "right_kidney"}, MODEL, {1: 1, 2: 2}, []),
        ({1: "right-kidney", 2: "liver"}, MODEL, {1: 2, 2: 1}, ["by name: 1 right-kidney is 2 Right kidney"]),
        ({5: " liver"}, MODEL, {5: 1}, ["by name: 5  liver is 1 liver"]),
        ({1: "Mu\u0308ller"}, {1: "M\u00fcller"}, {1: 1}, []),
        ({1: "1", 2: "2"}, MODEL, {1: 1, 2: 2}, ["names are missing: 1 is 1 liver, 2 is 2 Right kidney"]),
        (
            {1: "hepar", 2: "ren"},
            {1: "1", 2: "2", 3: "3"},
            {1: 1, 2: 2},
            ["names are missing: 1 hepar is 1, 2 ren is 2."],
        ),
        ({1: "1"}, {1: "1", 2: "2"}, {1: 1}, ["names are missing: 1 is 1."]),
        ({1: "right kidney", 3: "3"}, MODEL | {3: "spleen"}, {1: 2, 3: 3}, ["by name: 1", "missing: 3 is 3 spleen"]),
    ],
)
def test_labels_are_matched_by_name_and_by_number_only_where_names_are_missing(data, model, mapping, told):
    found, notes = match({0: "background"} | data, {0: "background"} | model, given={}, where="x")
    assert found == mapping
    assert len(notes) == len(told)
    assert all(text in note for text, note in zip(told, notes, strict=True))


@pytest.mark.parametrize(
    ("data", "model", "got", "written"),
    [
        ({7: "spleen"}, MODEL, "got 7 spleen", {7: 0}),
        ({1: "spleen", 2: "liver"}, MODEL, "got 1 spleen", {1: 0, 2: 1}),
        ({1: "liver", 2: "LIVER"}, MODEL, "got 1 liver, 2 LIVER", {1: 1, 2: 2}),
        ({1: "hepar", 2: "ren"}, MODEL, "got 1 hepar, 2 ren", {1: 1, 2: 2}),
        ({1: "liver", 2: "kidney right"}, MODEL, "got 2 kidney right", {1: 1, 2: 2}),
        ({1: "left lung", 2: "right lung"}, {1: "lung left", 2: "lung right"}, "got 1 left lung, 2", {1: 1, 2: 2}),
        ({1: "lungs"}, {1: "lung", 2: "lung"}, "got 1 lungs", {1: 1}),
        ({1: "lung"}, {1: "lung", 2: "Lung"}, "got 1 lung", {1: 1}),
        ({1: "T+"}, {1: "T"}, r"got 1 T\+", {1: 1}),
        ({1: "right kidney", 2: "2"}, MODEL, "got 2 2", {1: 2, 2: 0}),
        ({17: "17", 53: "53"}, MODEL, "got 17 17, 53 53", {17: 0, 53: 0}),
    ],
)
def test_names_that_disagree_are_refused_with_the_map_to_write(data, model, got, written):
    data, model = {0: "background"} | data, {0: "background"} | model
    with pytest.raises(InputError, match=rf"label names of x must agree with the model's .*{got}.* write") as refused:
        match(data, model, given={}, where="x")
    told = re.search(r"`(label_map: {.*?})`", str(refused.value))
    given = yaml.safe_load(told[1])["label_map"]
    assert given == written
    assert match(data, model, given=given, where="x")[0] == written


def test_models_without_a_card_are_not_sent_to_one():
    with pytest.raises(InputError, match=r"got 1 hepar\. Call the labels by the model's names in dataset\.json\.$"):
        match({0: "b", 1: "hepar"}, {0: "b", 1: "liver"}, given={}, where="x", card="")


def test_the_card_comes_first():
    found, notes = match({0: "b", 1: "liver", 9: "x"}, MODEL, given={1: 2, 9: 0}, where="x")
    assert found == {1: 2, 9: 0}
    assert "as the card says" in notes[0]
    with pytest.raises(InputError, match="got 9 x as well.*Write `9: 0`"):
        match({0: "b", 9: "x"}, MODEL, given={9: 7}, where="x")


class Quarters(nn.Module):
    """Says class k where the image is about k."""

    def __init__(self, classes, dims=3):
        super().__init__()
        kind = nn.Conv3d if dims == 3 else nn.Conv2d
        self.layer = kind(1, classes, 1)
        with torch.no_grad():
            k = torch.arange(classes, dtype=torch.float32)
            self.layer.weight.copy_((2 * k).reshape(-1, *[1] * (dims + 1)))
            self.layer.bias.copy_(-(k**2))

    def forward(self, image):
        return self.layer(image)


def _model(classes, labels, **card):
    return adapt(Quarters(classes), parse_card({"labels": labels, **card}, source="card"), kind="test", name="q")


@pytest.fixture
def data(tmp_path):
    """Image values 0 to 3 in four slabs; labels 10 and 20 are the slabs of 1 and 3."""
    image = np.repeat(np.arange(4.0), 2)[:, None, None] * np.ones((8, 6, 5))
    label = np.select([image == 1, image == 3], [10, 20], 0)
    for folder, voxels, kind in (("imagesTr", image, np.float32), ("labelsTr", label, np.uint8)):
        write_nifti(tmp_path / folder / "a.nii.gz", voxels, np.diag([1.0, 5.0, 1.0, 1.0]), dtype=kind)
    names = {"background": 0, "liver": 10, "spleen": 20}
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": names, "channel_names": {"0": "MRI"}}))
    return tmp_path


def _dice(fitted, cases):
    source = CaseSource(cases, fitted.model.card, fitted.model.prepare)
    loaded = source.load(cases[0])
    with torch.no_grad():
        found = fitted.model(torch.from_numpy(loaded.volume.image)[None]).argmax(1)[0]
    label = torch.from_numpy(loaded.label)
    np.testing.assert_array_equal(loaded.native_label, loaded.label)
    return {
        name: float(2 * ((found == k) & (label == k)).sum() / ((found == k).sum() + (label == k).sum()))
        for k, name in fitted.model.card.labels.items()
        if k > 0
    }


def test_data_with_other_numbers_and_fewer_classes_are_scored_by_their_names(data):
    model = _model(4, {1: "liver", 2: "kidney", 3: "spleen"}, recipe={})
    cases = load_cases(data)
    fitted = fit(model, cases)
    assert fitted.model.card.labels == {0: "background", 1: "liver", 2: "spleen"}
    assert _dice(fitted, cases) == {"liver": 1.0, "spleen": 1.0}
    assert len(fitted.notes) == 2
    assert "do not label kidney" in fitted.notes[1]


def test_a_map_in_the_card_is_used_and_may_leave_labels_out(data):
    model = _model(4, {1: "hepar", 2: "ren", 3: "lien"}, recipe={}, label_map={10: 1, 20: 0})
    cases = load_cases(data)
    assert _dice(fit(model, cases), cases)["hepar"] == 1.0


def test_a_map_in_the_recipe_comes_before_the_names(data):
    (data / "dataset.json").unlink()
    model = _model(4, {1: "a", 2: "b", 3: "c"}, recipe={"label_map": {10: 1, 20: 3}})
    cases = load_cases(data)
    fitted = fit(model, cases)
    assert _dice(fitted, cases) == {"a": 1.0, "c": 1.0}
    assert "names are missing: 1 10 is 1 a, 3 20 is 3 c" in fitted.notes[0]
    assert "do not label b" in fitted.notes[1]


def test_values_that_no_class_has_are_refused(data):
    with pytest.raises(InputError, match=r"got 10 liver, 20 spleen.*label_map: {10: 0, 20: 0}"):
        fit(_model(2, {1: "tumour"}, recipe={}), load_cases(data))


def test_a_card_without_recipe_asks_for_one(data):
    model = _model(4, {1: "liver", 2: "kidney", 3: "spleen"})
    with pytest.raises(InputError, match="write `recipe:` into the model's card"):
        CaseSource(load_cases(data), fit(model, load_cases(data)).model.card)


def test_slices_lie_across_the_axis_with_the_largest_voxels(data):
    card = parse_card({"recipe": {}, "labels": {1: "liver", 2: "kidney", 3: "spleen"}}, source="card")
    model = adapt(Quarters(4, dims=2), card, kind="test", name="flat")
    cases = load_cases(data)
    fitted = fit(model, cases)
    assert "walks along y (5 mm)" in fitted.notes[-1]
    assert _dice(fitted, cases) == {"liver": 1.0, "spleen": 1.0}
    seen = []
    model.network.register_forward_pre_hook(lambda _, given: seen.append(tuple(given[0].shape[2:])))
    fitted.model(torch.zeros(1, 1, 8, 6, 5))
    assert {*seen} == {(5, 8)}


def test_prepared_data_of_another_recipe_are_refused(data, tmp_path_factory):
    from imaseg.data.preparation.prepare import prepare
    from imaseg.data.preparation.recipe import load_recipe

    out = tmp_path_factory.mktemp("prepared") / "out"
    prepare(data, out, load_recipe("msd"))
    cases = load_cases(out)
    labels = {1: "liver", 2: "kidney", 3: "spleen"}
    with pytest.raises(InputError, match="must be prepared as the model's training cases were"):
        CaseSource(cases, fit(_model(4, labels, recipe={"normalise": "zscore"}), cases).model.card)
    for key, value, text in (("size", "x", "size must be"), ("sizes", None, "key must be one of")):
        odd = replace(cases, prepared=cases.prepared | {"recipe": {key: value}})
        with pytest.raises(InputError, match=rf"^{out / 'prepare.json'}: {text}"):
            CaseSource(odd, fit(_model(4, labels, recipe={}), cases).model.card)
    unknown = fit(_model(4, labels), cases)
    assert "does not say how its images were prepared" in unknown.notes[-1]
    assert set(np.unique(CaseSource(cases, unknown.model.card).load(cases[0]).label)) == {0, 1, 2}


@pytest.mark.parametrize("name", ["one.jpg", "one_img.jpg", "one_image.bmp"])
def test_images_and_labels_are_paired_by_stem_whatever_their_suffix(tmp_path, name):
    from PIL import Image

    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    Image.fromarray(np.tile(np.arange(8, dtype=np.uint8) * 30, (8, 1))).save(tmp_path / "images" / name)
    Image.fromarray(np.ones((8, 8), np.uint8)).save(tmp_path / "masks" / "one_mask.png")
    nib.save(nib.Nifti1Image(np.ones((8, 8, 1), np.uint8), np.eye(4)), tmp_path / "masks" / ".hidden.nii.gz")
    (case,) = load_cases(tmp_path)
    assert (case.id, case.image[0].name, case.label.name) == ("one", name, "one_mask.png")
    loaded = CaseSource(load_cases(tmp_path), _model(2, {1: "a"}, recipe={}).card).load(case)
    assert loaded.volume.image.shape == (1, 8, 8, 1)


NAMED = {0: "background", 1: "spleen", 2: "liver", 3: "tumour"}


def test_what_the_map_of_the_card_leaves_out_goes_by_its_name():
    data = {0: "background", 1: "hepar", 2: "tumour", 3: "spleen"}
    assert match(data, NAMED, given={1: 2}, where="x")[0] == {1: 2, 2: 3, 3: 1}


def test_a_map_that_leaves_out_a_name_nobody_has_is_refused_with_the_whole_map():
    data = {0: "background", 1: "hepar", 2: "kidney"}
    with pytest.raises(InputError, match=r"got 2 kidney.*`label_map: {1: 2, 2: 0}`"):
        match(data, NAMED, given={1: 2}, where="x")
