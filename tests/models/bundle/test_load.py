"""MONAI bundle folders: network, tiles, labels and preparation from their own files; code only with trust."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch

from imaseg import InputError, load_model
from imaseg.auditing.inputs.source import CaseSource
from imaseg.data import load_cases
from tests.models.bundle.bundles import INFERENCE, METADATA, changed, unet, volume, write_bundle


@pytest.fixture
def raw(tmp_path):
    volume(tmp_path / "raw")
    return tmp_path / "raw"


@pytest.mark.parametrize("suffix", ["json", "yaml"])
def test_a_bundle_predicts_as_monai_does_with_its_own_configuration(tmp_path, raw, suffix):
    from monai.bundle import ConfigParser

    content = deepcopy(INFERENCE)
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
    network.load_state_dict(unet().state_dict())
    wanted = parser.get_parsed_content("inferer")(inputs=prepared[None], network=network.eval())
    with torch.no_grad():
        torch.testing.assert_close(
            model(torch.from_numpy(volume.image)[None]), wanted.as_tensor(), atol=1e-3, rtol=1e-3
        )


@pytest.mark.parametrize("axcodes", ["LPS", "PLS", "RSA"])
def test_other_orientations_reach_the_network_as_monai_would_turn_them(tmp_path, raw, axcodes):
    from monai.transforms import Compose, EnsureChannelFirst, LoadImage, Orientation

    content = changed(("preprocessing", "transforms", 2, "axcodes"), axcodes)
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
    content = changed(("network_def", "channels"), "$__import__('os').environ.update(IMASEG_RAN='1') or [4, 8]")
    folder = write_bundle(tmp_path / "a", content)
    with pytest.raises(InputError, match="the expression .*network_def#channels.* runs code .*--trust"):
        load_model(f"bundle:{folder}")
    import os

    assert "IMASEG_RAN" not in os.environ
    image = torch.randn(1, 1, 16, 16, 16)
    torch.testing.assert_close(load_model(f"bundle:{folder}", trust=True)(image), unet()(image))
    assert os.environ["IMASEG_RAN"] == "1"
    scripts = write_bundle(tmp_path / "b", changed(("network_def", "_target_"), "bundle_scripts_b.Mine"))
    (scripts / "bundle_scripts_b.py").write_text("from monai.networks.nets import UNet as Mine\n")
    with pytest.raises(InputError, match="network_def in .* runs code"):
        load_model(f"bundle:{scripts}")
    torch.testing.assert_close(load_model(f"bundle:{scripts}", trust=True)(image), unet()(image))


def test_a_card_in_the_folder_takes_the_place_of_what_the_bundle_says(tmp_path):
    content = changed(("preprocessing", "transforms", 4), {"_target_": "MyOwnd", "keys": "image"})
    folder = write_bundle(tmp_path / "a", content)
    with pytest.raises(
        InputError, match="must be made of steps that imaseg knows and can undo, got MyOwnd.*imaseg.yaml"
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
    content = changed(("preprocessing", "transforms", 4), {"keys": "image"} | transform)
    found = load_model(f"bundle:{write_bundle(tmp_path / 'a', content)}").card.recipe
    assert {key: found[key] for key in recipe} == recipe


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
        (("network_def", "_target_"), "Nonsense", "must name a network of monai.networks.nets"),
        (("network_def", "depth"), 3, "must hold arguments that UNet takes"),
    ],
)
def test_wrong_entries_are_one_clear_line(tmp_path, path, value, text):
    with pytest.raises(InputError, match=text):
        load_model(f"bundle:{write_bundle(tmp_path / 'a', changed(path, value))}")


def test_arguments_that_monai_removed_are_left_out_and_said(tmp_path):
    from monai.networks.nets import SwinUNETR

    arguments = {"in_channels": 1, "out_channels": 2, "feature_size": 12, "spatial_dims": 3}
    network = {"_target_": "SwinUNETR", "img_size": 96, **arguments}
    folder = write_bundle(tmp_path / "a", changed(("network_def",), network), network=SwinUNETR(**arguments))
    content = changed(("network_def",), network)
    content["inferer"]["roi_size"] = [32, 32, 32]
    folder = write_bundle(tmp_path / "b", content, network=SwinUNETR(**arguments))
    notes = load_model(f"bundle:{folder}").found.notes
    assert any("img_size of the bundle's SwinUNETR is left out" in note for note in notes)


def test_arguments_that_monai_renamed_are_passed_on(tmp_path):
    content = changed(("network_def", "dimensions"), content_dims := 3)
    del content["network_def"]["spatial_dims"]
    model = load_model(f"bundle:{write_bundle(tmp_path / 'a', content)}")
    assert model.found.card.spatial_dims == content_dims


def test_weights_are_those_that_the_bundle_loads(tmp_path):
    handlers = [{"_target_": "CheckpointLoader", "load_path": "$@bundle_root + '/models/' + @which"}]
    content = INFERENCE | {"handlers": handlers, "which": "$'high.pt' if @sharp else 'low.pt'", "sharp": True}
    folder = write_bundle(tmp_path / "a", content)
    other = unet()
    with torch.no_grad():
        for value in other.parameters():
            value.mul_(1.5)
    torch.save(other.state_dict(), folder / "models" / "high.pt")
    image = torch.randn(1, 1, 16, 16, 16)
    torch.testing.assert_close(load_model(f"bundle:{folder}")(image), other(image))


def test_without_preprocessing_nothing_is_said_about_it(tmp_path):
    content = deepcopy(INFERENCE)
    del content["preprocessing"]
    assert load_model(f"bundle:{write_bundle(tmp_path / 'a', content)}").card.recipe is None


def test_slices_lie_along_the_axis_of_the_inferer(tmp_path):
    arguments = {"spatial_dims": 2, "in_channels": 1, "out_channels": 2, "channels": [4, 8], "strides": [2]}
    content = changed(("network_def",), {"_target_": "UNet", **arguments})
    content["inferer"] = {"_target_": "SliceInferer", "roi_size": [16, 16], "spatial_dim": 1}
    model = load_model(f"bundle:{write_bundle(tmp_path / 'a', content, network=unet(**arguments))}")
    from monai.inferers import SliceInferer

    image = torch.randn(1, 1, 20, 3, 18)
    wanted = SliceInferer(roi_size=(16, 16), spatial_dim=1)(image, unet(**arguments))
    torch.testing.assert_close(model(image), wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("padding", [{"padding_mode": "replicate"}, {"cval": 3.0}, {}])
def test_images_smaller_than_a_tile_are_padded_as_the_inferer_says(tmp_path, padding):
    from monai.inferers import SlidingWindowInferer

    content = deepcopy(INFERENCE)
    content["inferer"] |= padding
    model = load_model(f"bundle:{write_bundle(tmp_path / 'a', content)}")
    image = torch.randn(1, 1, 9, 20, 11) + 5
    inferer = SlidingWindowInferer((16, 16, 16), overlap=0.5, **padding)
    torch.testing.assert_close(model(image), inferer(image, unet()), atol=1e-4, rtol=1e-4)


def _loading(path, **more):
    return INFERENCE | {"handlers": [{"_target_": "CheckpointLoader", "load_path": path}]} | more


def test_weights_in_a_folder_of_their_own_are_not_others_of_the_same_name(tmp_path):
    folder = write_bundle(tmp_path / "a", _loading("/workspace/models/spleen/models/fold1/model.pt"))
    with pytest.raises(InputError, match=r"models/fold1/model.pt must hold weights, got nothing there"):
        load_model(f"bundle:{folder}")
    other = unet()
    with torch.no_grad():
        for value in other.parameters():
            value.mul_(1.5)
    (folder / "models" / "fold1").mkdir()
    torch.save(other.state_dict(), folder / "models" / "fold1" / "model.pt")
    image = torch.randn(1, 1, 16, 16, 16)
    torch.testing.assert_close(load_model(f"bundle:{folder}")(image), other(image))


def test_which_of_several_weights_are_meant_is_not_guessed(tmp_path):
    folder = write_bundle(tmp_path / "a", _loading("$os.path.join(@bundle_root, 'models', 'model.pt')"))
    load_model(f"bundle:{folder}")
    torch.save(unet().state_dict(), folder / "models" / "other.pt")
    with pytest.raises(InputError, match=r"load_path.*--trust"):
        load_model(f"bundle:{folder}")


def test_the_card_names_other_weights_but_no_other_network(tmp_path):
    folder = write_bundle(tmp_path / "a")
    other = unet()
    with torch.no_grad():
        for value in other.parameters():
            value.mul_(1.5)
    torch.save(other.state_dict(), folder / "models" / "better.pt")
    (folder / "imaseg.yaml").write_text("weights: models/better.pt")
    image = torch.randn(1, 1, 16, 16, 16)
    torch.testing.assert_close(load_model(f"bundle:{folder}")(image), other(image))
    (folder / "imaseg.yaml").write_text("class: monai.networks.nets.UNet")
    with pytest.raises(InputError, match=r"imaseg.yaml must not say class"):
        load_model(f"bundle:{folder}")


@pytest.mark.parametrize(
    ("names", "channels", "after", "labels"),
    [
        ({0: "other", 1: "spleen"}, 2, {"softmax": True}, {0: "other", 1: "spleen"}),
        ({0: "other", 1: "spleen"}, 2, {"argmax": True}, {0: "other", 1: "spleen"}),
        ({0: "liver", 1: "spleen"}, 2, {"sigmoid": True}, {0: "background", 1: "liver", 2: "spleen"}),
        ({0: "liver", 1: "spleen"}, 3, {"softmax": True}, {0: "background", 1: "liver", 2: "spleen"}),
        ({1: "spleen"}, 2, {"softmax": True}, {0: "background", 1: "spleen"}),
    ],
)
def test_the_first_of_channels_of_which_one_wins_is_the_background(tmp_path, names, channels, after, labels):
    target = "AsDiscreted" if "argmax" in after else "Activationsd"
    content = changed(("network_def", "out_channels"), channels)
    content["postprocessing"] = [{"_target_": target, "keys": "pred", **after}]
    metadata = deepcopy(METADATA)
    said = {"num_channels": channels, "channel_def": {str(k): name for k, name in names.items()}}
    metadata["network_data_format"]["outputs"]["pred"] = said
    folder = write_bundle(tmp_path / "a", content, metadata, network=unet(out_channels=channels))
    assert load_model(f"bundle:{folder}").card.labels == labels


def test_channels_of_several_inputs_are_those_of_the_network(tmp_path):
    content = changed(("network_def", "in_channels"), 2)
    content["preprocessing"]["transforms"] = [
        {"_target_": "LoadImaged", "keys": ["t1", "t2"]},
        {"_target_": "EnsureChannelFirstd", "keys": ["t1", "t2"]},
        {"_target_": "ConcatItemsd", "keys": ["t1", "t2"], "name": "image"},
    ]
    metadata = deepcopy(METADATA)
    metadata["network_data_format"]["inputs"] = {"t1": {"num_channels": 1}, "t2": {"num_channels": 1}}
    folder = write_bundle(tmp_path / "a", content, metadata, network=unet(in_channels=2))
    assert load_model(f"bundle:{folder}").card.in_channels == 2


@pytest.mark.parametrize(("mode", "said"), [("gaussian", 1), ("constant", 0)])
def test_a_width_of_the_blending_that_is_not_done_is_said(tmp_path, mode, said):
    content = deepcopy(INFERENCE)
    content["inferer"] |= {"mode": mode, "sigma_scale": 0.3}
    left_out = load_model(f"bundle:{write_bundle(tmp_path / 'a', content)}").left_out
    assert len([text for text in left_out if "sigma_scale 0.3" in text]) == said


@pytest.mark.parametrize(
    ("after", "said"),
    [
        ([{"sigmoid": True}, {"threshold": 0.5}], True),
        ([{"softmax": True}, {"threshold": 0.5}], False),
        ([{"sigmoid": True}, {"argmax": True}], False),
    ],
)
def test_a_threshold_for_each_of_two_classes_is_no_largest_channel(tmp_path, after, said):
    content = deepcopy(INFERENCE)
    targets = ("Activationsd", "AsDiscreted")
    content["postprocessing"] = [
        {"_target_": target, "keys": "pred", **one} for target, one in zip(targets, after, strict=True)
    ]
    left_out = load_model(f"bundle:{write_bundle(tmp_path / 'a', content)}").left_out
    assert any("a threshold for each channel" in text for text in left_out) is said


def test_code_of_the_author_is_part_of_what_an_audit_shares(tmp_path):
    described = []
    for factor in (2, 3):
        content = deepcopy(INFERENCE)
        content["preprocessing"]["transforms"].append(
            {"_target_": "Lambdad", "keys": "image", "func": f"$lambda x: x * {factor}"}
        )
        described.append(load_model(f"bundle:{write_bundle(tmp_path / str(factor), content)}", trust=True).prepare)
    one, other = (prepare.described for prepare in described)
    assert one != other


@pytest.mark.parametrize("at", ["network", "evaluator"])
def test_what_is_around_the_network_is_run_with_trust_and_said_without(tmp_path, at):
    around = "$torch.nn.Sequential(@network_def, torch.nn.Softmax(1)).to(@device)"
    more = {"network": around} if at == "network" else {"evaluator": {"_target_": "E", "network": around}}
    folder = write_bundle(tmp_path / "a", INFERENCE | more)
    image = torch.randn(1, 1, 16, 16, 16)
    model = load_model(f"bundle:{folder}", trust=True)
    assert model.ending.activation == "softmax"
    torch.testing.assert_close(model(image).softmax(1), unet()(image).softmax(1), atol=1e-5, rtol=1e-4)
    assert model.left_out == []
    assert any("around network_def" in text for text in load_model(f"bundle:{folder}").left_out)


@pytest.mark.parametrize(
    "network", ["@network_def", "$@network_def.to(@device).eval()", "$torch.nn.DataParallel(@network_def)"]
)
def test_the_same_network_on_another_device_is_no_other(tmp_path, network):
    content = INFERENCE | {"network": network, "evaluator": {"_target_": "E", "network": "@network"}}
    assert load_model(f"bundle:{write_bundle(tmp_path / 'a', content)}").left_out == []
