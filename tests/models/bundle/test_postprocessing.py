"""Postprocessing is read: which activation follows the network, and what of it imaseg leaves out."""

from __future__ import annotations

import json

import pytest
import torch

from imaseg import load_model
from imaseg.models.bundle.config import BundleConfig
from imaseg.models.bundle.postprocessing import Postprocessing
from tests.models.bundle.bundles import INFERENCE, METADATA, unet, write_bundle


def do(name, **arguments):
    return {"_target_": name, "keys": "pred", **arguments}


SOFTMAX, ARGMAX = do("Activationsd", softmax=True), do("AsDiscreted", argmax=True)
SIGMOID, HALF = do("Activationsd", sigmoid=True), do("AsDiscreted", threshold=0.5)
SILENT = [
    do("Invertd", transform="@preprocessing", orig_keys="image", nearest_interp=False),
    do("SaveImaged", output_dir="$@bundle_root + '/eval'"),
    do("EnsureTyped"),
    {"_target_": "FillHolesd", "keys": "label"},
    do("FillHolesd", _disabled_=True),
]


def read(folder, transforms, **more):
    (folder / "configs").mkdir()
    content = {"postprocessing": {"_target_": "Compose", "transforms": transforms}} | more
    (folder / "configs" / "inference.json").write_text(json.dumps(content))
    return Postprocessing(BundleConfig(folder, trust=False))


@pytest.mark.parametrize(
    ("transforms", "activation", "threshold"),
    [
        ([SOFTMAX, ARGMAX], "softmax", None),
        ([ARGMAX], None, None),
        ([SIGMOID, HALF], "sigmoid", 0.5),
        ([do("Activations", sigmoid=True), do("AsDiscrete", threshold=0.5)], "sigmoid", 0.5),
        ([do("Activationsd", sigmoid=False, softmax=[True, False], keys=["pred", "label"])], "softmax", None),
        ("$@one + @two", "softmax", None),
    ],
)
def test_the_activation_is_found(tmp_path, transforms, activation, threshold):
    after = read(tmp_path, transforms, one=[SOFTMAX], two=[ARGMAX])
    assert (after.activation, after.threshold, after.left_out) == (activation, threshold, [])


def test_what_changes_no_decision_is_not_spoken_of(tmp_path):
    assert read(tmp_path, [SOFTMAX, ARGMAX, *SILENT], preprocessing=[]).left_out == []


@pytest.mark.parametrize(
    ("transform", "text"),
    [
        (
            do("KeepLargestConnectedComponentd", applied_labels=[1, 2]),
            "KeepLargestConnectedComponent (applied_labels [1, 2])",
        ),
        (do("FillHolesd"), "FillHoles"),
        (do("RemoveSmallObjectsd", min_size=64), "RemoveSmallObjects (min_size 64)"),
        (do("LabelFilterd", applied_labels=[1]), "LabelFilter (applied_labels [1])"),
        (do("Lambdad", func="$lambda x: x[1:]"), "Lambda (func code)"),
        (do("scripts.mine.Merged"), "scripts.mine.Merged"),
        (do("AsDiscreted", threshold=0.3), "AsDiscrete (threshold 0.3): the model's classes are split at 0.5"),
    ],
)
def test_what_changes_decisions_is_said(tmp_path, transform, text):
    assert read(tmp_path, [SIGMOID, transform]).left_out == [text]


def test_code_is_said_to_be_unread(tmp_path):
    assert "is code, which is not read" in read(tmp_path, "$make_them()").left_out[0]


def test_the_model_ends_in_what_the_bundle_says_and_the_card_knows_what_is_missing(tmp_path):
    largest = do("KeepLargestConnectedComponentd", applied_labels=[1])
    content = INFERENCE | {"postprocessing": {"_target_": "Compose", "transforms": [SOFTMAX, ARGMAX, largest]}}
    model = load_model(f"bundle:{write_bundle(tmp_path / 'a', content)}")
    assert model.found.probe.activation == model.found.card.activation == "none"
    assert "applies a softmax: the network returns logits" in model.found.notes[-1]
    assert model.left_out == ["KeepLargestConnectedComponent (applied_labels [1])"]
    assert not model.independent


def test_a_threshold_for_the_background_is_said(tmp_path):
    content = INFERENCE | {"postprocessing": [SIGMOID, HALF]}
    content["network_def"] = content["network_def"] | {"out_channels": 3}
    names = {"0": "background", "1": "core", "2": "rim"}
    metadata = METADATA | {"network_data_format": {"outputs": {"pred": {"channel_def": names}}}}
    folder = write_bundle(tmp_path / "a", content, metadata, unet(out_channels=3))
    model = load_model(f"bundle:{folder}")
    assert model.independent
    assert "the channel with the largest value wins" in model.left_out[0]
    image = torch.randn(1, 1, 16, 16, 16)
    torch.testing.assert_close(model(image), unet(out_channels=3)(image), atol=1e-4, rtol=1e-4)
