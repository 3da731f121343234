"""MONAI bundle folders: network, tiles, labels and preparation from their own files; code only with trust."""

from __future__ import annotations

import json
from copy import deepcopy

import numpy as np
import pytest
import torch
import yaml
from imaseg.auditing.source import CaseSource

from imaseg import InputError, load_model
from imaseg.data import load_cases, write_nifti

ARGUMENTS = {"spatial_dims": 3, "in_channels": 1, "out_channels": 2, "channels": [4, 8], "strides": [2]}
INFERENCE = {
    "imports": ["$import os"],
    "bundle_root": ".",
    "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
    "patch": [16, 16, 16],
    "network_def": {"_target_": "UNet", **ARGUMENTS},
    "network": "$@network_def.to(@device)",
    "preprocessing": {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "LoadImaged", "keys": "image"},
            {"_target_": "EnsureChannelFirstd", "keys": "image"},
            {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"},
            {"_target_": "Spacingd", "keys": "image", "pixdim": [2.0, 2.0, 2.0], "mode": "bilinear"},
            {"_target_": "ScaleIntensityRanged", "keys": "image", "a_min": -57, "a_max": 164, "b_min": 0, "b_max": 1,
             "clip": True},
            {"_target_": "EnsureTyped", "keys": "image", "device": "@device"},
        ],
    },
    "inferer": {"_target_": "SlidingWindowInferer", "roi_size": "@patch", "sw_batch_size": 2, "overlap": 0.5},
}  # fmt: skip
METADATA = {
    "name": "Spleen",
    "network_data_format": {
        "inputs": {"image": {"num_channels": 1}},
        "outputs": {"pred": {"num_channels": 2, "channel_def": {"0": "background", "1": "spleen"}}},
    },
}


def _unet(**changes):
    from monai.networks.nets import UNet

    torch.manual_seed(0)
    return UNet(**ARGUMENTS | changes).eval()


def write_bundle(folder, inference=INFERENCE, metadata=METADATA, network=None, suffix="json"):
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    dump = json.dumps if suffix == "json" else yaml.safe_dump
    (folder / "configs" / f"inference.{suffix}").write_text(dump(inference))
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata))
    torch.save((network or _unet()).state_dict(), folder / "models" / "model.pt")
    return folder


def _changed(path, value):
    content = deepcopy(INFERENCE)
    *keys, last = path
    part = content
    for key in keys:
        part = part[key]
    part[last] = value
    return content


@pytest.fixture
def raw(tmp_path):
    """One anisotropic case whose axes are stored as LPS."""
    rng = np.random.default_rng(0)
    affine = np.diag([-1.0, -1.0, 4.0, 1.0])
    for name, kind in (("images", np.float32), ("labels", np.uint8)):
        (tmp_path / "raw" / name).mkdir(parents=True)
        voxels = rng.normal(50, 150, (24, 20, 7)) if name == "images" else np.ones((24, 20, 7))
        write_nifti(tmp_path / "raw" / name / "a.nii.gz", voxels, affine, dtype=kind)
    return tmp_path / "raw"


@pytest.mark.parametrize("suffix", ["json", "yaml"])
def test_a_bundle_predicts_as_monai_does_with_its_own_configuration(tmp_path, raw, suffix):
    from monai.bundle import ConfigParser

    content = deepcopy(INFERENCE)
    assert load_model(f"bundle:{write_bundle(tmp_path / 'whole', suffix=suffix)}").card.recipe["spacing"] == [2.0] * 3
    del content["preprocessing"]["transforms"][3]  # MONAI aligns the first voxels, `prepare` the middles
    folder = write_bundle(tmp_path / "spleen", content, suffix=suffix)
    model = load_model(f"bundle:{folder}")
    assert (model.card.name, model.card.labels) == ("Spleen", {0: "background", 1: "spleen"})
    cases = load_cases(raw)
    volume = CaseSource(cases, model.card).load(cases[0]).volume
    parser = ConfigParser(deepcopy(content))
    prepared = parser.get_parsed_content("preprocessing")({"image": str(raw / "images" / "a.nii.gz")})["image"]
    assert volume.image.shape == tuple(prepared.shape)
    np.testing.assert_allclose(volume.image, prepared.numpy(), atol=1e-4)
    network = parser.get_parsed_content("network_def")
    network.load_state_dict(_unet().state_dict())
    wanted = parser.get_parsed_content("inferer")(inputs=prepared[None], network=network.eval())
    with torch.no_grad():
        torch.testing.assert_close(
            model(torch.from_numpy(volume.image)[None]), wanted.as_tensor(), atol=1e-3, rtol=1e-3
        )


@pytest.mark.parametrize("axcodes", ["LPS", "PLS", "RSA"])
def test_other_orientations_reach_the_network_as_monai_would_turn_them(tmp_path, raw, axcodes):
    from monai.transforms import Compose, EnsureChannelFirst, LoadImage, Orientation

    content = _changed(("preprocessing", "transforms", 2, "axcodes"), axcodes)
    del content["preprocessing"]["transforms"][3:]
    del content["inferer"]
    folder = write_bundle(tmp_path / "b", content)
    model = load_model(f"bundle:{folder}")
    volume = CaseSource(load_cases(raw), model.card).load(load_cases(raw)[0]).volume
    turn = Compose([LoadImage(image_only=True), EnsureChannelFirst(), Orientation(axcodes)])
    seen = turn(raw / "images" / "a.nii.gz")
    ours = []
    model.network.register_forward_pre_hook(lambda _, given: ours.append(given[0]))
    model(torch.from_numpy(volume.image)[None])
    torch.testing.assert_close(ours[0][0], seen.as_tensor().float())


def test_expressions_and_foreign_classes_run_with_trust_only(tmp_path, monkeypatch):
    monkeypatch.delenv("IMASEG_RAN", raising=False)
    content = _changed(("network_def", "channels"), "$__import__('os').environ.update(IMASEG_RAN='1') or [4, 8]")
    folder = write_bundle(tmp_path / "a", content)
    with pytest.raises(InputError, match="the expression .*network_def#channels.* runs code .*--trust"):
        load_model(f"bundle:{folder}")
    import os

    assert "IMASEG_RAN" not in os.environ
    image = torch.randn(1, 1, 16, 16, 16)
    torch.testing.assert_close(load_model(f"bundle:{folder}", trust=True)(image), _unet()(image))
    assert os.environ["IMASEG_RAN"] == "1"
    scripts = write_bundle(tmp_path / "b", _changed(("network_def", "_target_"), "bundle_scripts_b.Mine"))
    (scripts / "bundle_scripts_b.py").write_text("from monai.networks.nets import UNet as Mine\n")
    with pytest.raises(InputError, match="network_def in .* runs code"):
        load_model(f"bundle:{scripts}")
    torch.testing.assert_close(load_model(f"bundle:{scripts}", trust=True)(image), _unet()(image))


def test_a_card_in_the_folder_takes_the_place_of_what_the_bundle_says(tmp_path):
    content = _changed(("preprocessing", "transforms", 4), {"_target_": "MyOwnd", "keys": "image"})
    folder = write_bundle(tmp_path / "a", content)
    with pytest.raises(
        InputError, match="must be made of steps that imaseg knows and can undo, got MyOwn.*imaseg.yaml"
    ):
        load_model(f"bundle:{folder}")
    (folder / "imaseg.yaml").write_text("recipe: {normalise: zscore}\nlabels: {1: milt}\ntrain_ids: [a]\n")
    card = load_model(f"bundle:{folder}").card
    assert (card.labels[1], card.recipe["normalise"], card.train_ids) == ("milt", "zscore", ["a"])


@pytest.mark.parametrize(
    ("transform", "recipe"),
    [
        ({"_target_": "NormalizeIntensityd", "nonzero": True, "channel_wise": True}, {"normalise": "masked-zscore"}),
        ({"_target_": "NormalizeIntensityd"}, {"normalise": "zscore", "within": "image"}),
        ({"_target_": "ScaleIntensityd"}, {"normalise": "percentile", "percentiles": [0.0, 100.0]}),
        (
            {
                "_target_": "ScaleIntensityRangePercentilesd",
                "lower": 1,
                "upper": 99,
                "b_min": 0,
                "b_max": 1,
                "clip": True,
            },
            {"normalise": "percentile", "percentiles": [1.0, 99.0]},
        ),
        ({"_target_": "monai.transforms.CenterSpatialCropd", "roi_size": [8, 9, -1]}, {"size": [8, 9, None]}),
        ({"_target_": "CropForegroundd", "source_key": "image"}, {"crop": None, "normalise": "none"}),
        ({"_target_": "NormalizeIntensityd", "_disabled_": True}, {"normalise": "none"}),
        ({"_target_": "NormalizeIntensityd", "keys": "label"}, {"normalise": "none"}),
    ],
)
def test_steps_of_monai_become_those_of_a_recipe(tmp_path, transform, recipe):
    content = _changed(("preprocessing", "transforms", 4), {"keys": "image"} | transform)
    found = load_model(f"bundle:{write_bundle(tmp_path / 'a', content)}").card.recipe
    assert {key: found[key] for key in recipe} == recipe


@pytest.mark.parametrize(
    ("transform", "text"),
    [
        ({"_target_": "ScaleIntensityd", "minv": -1}, "ScaleIntensity to other than 0..1"),
        ({"_target_": "Orientationd", "axcodes": "RAX"}, "Orientation to RAX"),
        ({"_target_": "NormalizeIntensityd", "subtrahend": [1.0], "divisor": [2.0]}, "NormalizeIntensity by channel"),
        (
            {"_target_": "ScaleIntensityRangePercentilesd", "lower": 1, "upper": 99, "b_min": 0, "b_max": 2},
            "clipped 0..1",
        ),
    ],
)
def test_steps_that_cannot_be_undone_exactly_are_refused(tmp_path, transform, text):
    content = _changed(("preprocessing", "transforms", 4), {"keys": "image"} | transform)
    with pytest.raises(InputError, match=text):
        load_model(f"bundle:{write_bundle(tmp_path / 'a', content)}")


def test_several_channels_are_not_normalised_together(tmp_path):
    content = _changed(("preprocessing", "transforms", 4), {"_target_": "NormalizeIntensityd", "keys": "image"})
    content["network_def"]["in_channels"] = 2
    metadata = deepcopy(METADATA)
    metadata["network_data_format"]["inputs"]["image"]["num_channels"] = 2
    folder = write_bundle(tmp_path / "a", content, metadata, _unet(in_channels=2))
    with pytest.raises(InputError, match="NormalizeIntensity over all 2 channels together"):
        load_model(f"bundle:{folder}")


def test_channels_without_background_are_structures(tmp_path):
    metadata = deepcopy(METADATA)
    metadata["network_data_format"]["outputs"]["pred"]["channel_def"] = {"0": "core", "1": "whole"}
    model = load_model(f"bundle:{write_bundle(tmp_path / 'a', metadata=metadata)}")
    assert model.card.labels == {0: "background", 1: "core", 2: "whole"}
    assert model(torch.randn(1, 1, 16, 16, 16)).shape[1] == 3


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (lambda f: (f / "configs" / "inference.json").unlink(), "no configs/inference.json"),
        (lambda f: (f / "configs" / "inference.json").write_text("{"), "must be valid JSON"),
        (lambda f: (f / "configs" / "inference.json").write_text("{}"), "got no network_def"),
        (lambda f: (f / "models" / "model.pt").unlink(), "model.pt must hold weights, got nothing there"),
        (lambda f: (f / "models" / "model.pt").write_bytes(b"x"), "unreadable"),
    ],
)
def test_damaged_bundles_are_one_clear_line(tmp_path, damage, text):
    folder = write_bundle(tmp_path / "a")
    damage(folder)
    with pytest.raises(InputError, match=text):
        load_model(f"bundle:{folder}")


@pytest.mark.parametrize(
    ("path", "value", "text"),
    [
        (("inferer", "roi_size"), "@nowhere", "must hold 'nowhere', which inferer#roi_size refers to"),
        (("network_def", "channels"), ["@network_def#channels"], "must not refer in circles"),
        (("network_def", "_target_"), "Nonsense", "must name a class of monai.networks.nets"),
        (("network_def", "depth"), 3, "must hold arguments that UNet takes"),
    ],
)
def test_wrong_entries_are_one_clear_line(tmp_path, path, value, text):
    with pytest.raises(InputError, match=text):
        load_model(f"bundle:{write_bundle(tmp_path / 'a', _changed(path, value))}")
