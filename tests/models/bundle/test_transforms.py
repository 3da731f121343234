"""Every way in which bundles write their preprocessing gives what MONAI's own parser gives, or a refusal."""

from __future__ import annotations

import json
from copy import deepcopy

import numpy as np
import pytest

from imaseg import InputError
from imaseg.auditing.inputs.source import CaseSource
from imaseg.data import load_cases
from imaseg.models.bundle.config import BundleConfig
from imaseg.models.bundle.transforms import Preprocessing
from imaseg.models.card import Card
from imaseg.models.segmentation import ModelCard
from tests.models.bundle.bundles import INFERENCE, volume, with_transforms

CARD = {"name": "x", "network": {}, "labels": {0: "background", 1: "1"}, "spatial_dims": 3}


def do(name, **arguments):
    return {"_target_": name, "keys": "image", **arguments}


READ = [do("LoadImaged"), do("EnsureChannelFirstd")]
RAS = do("Orientationd", axcodes="RAS")
SPACING = do("Spacingd", pixdim=[1.5, 1.5, 2.0], mode="bilinear")
WINDOW = do("ScaleIntensityRanged", a_min=-57, a_max=164, b_min=0.0, b_max=1.0, clip=True)
CROP = do("CropForegroundd", source_key="image", margin=1, allow_smaller=True)
ZSCORE = do("NormalizeIntensityd")

CHAINS = {
    "as the zoo does": [RAS, SPACING, WINDOW],
    "range before spacing": [WINDOW, RAS, SPACING],
    "spacing before orientation": [SPACING, CROP, WINDOW, do("Orientationd", axcodes="PLI")],
    "spacing alone": [SPACING],
    "spacing of one axis": [RAS, do("Spacingd", pixdim=[-1, 2.0, -1])],
    "spacing with aligned corners": [RAS, do("Spacingd", pixdim=2.0, align_corners=True, mode="nearest")],
    "spacing of the whole extent": [do("Spacingd", pixdim=[2, 2, 3], scale_extent=True, padding_mode="zeros")],
    "splines": [RAS, do("Spacingd", pixdim=[2, 2, 3], mode=3, padding_mode="nearest")],
    "normalise, then crop": [ZSCORE, do("CenterSpatialCropd", roi_size=[8, 9, -1])],
    "crop to the foreground, then z-score": [WINDOW, CROP, ZSCORE],
    "z-score, then crop to the foreground": [ZSCORE, CROP],
    "divisible crop": [do("CropForegroundd", source_key="image", k_divisible=[8, 8, 4], margin=2)],
    "range, then z-score": [do("ScaleIntensityd"), ZSCORE],
    "to -1..1": [do("ScaleIntensityd", minv=-1.0, maxv=1.0)],
    "by a factor": [do("ScaleIntensityd", minv=None, maxv=None, factor=0.3)],
    "nonzero z-score to -1..1": [
        do("NormalizeIntensityd", nonzero=True, channel_wise=True), do("ScaleIntensityd", minv=-1.0, maxv=1.0)
    ],
    "clipped, then nonzero z-score": [WINDOW, do("NormalizeIntensityd", nonzero=True)],
    "shifted": [do("NormalizeIntensityd", subtrahend=30.0, divisor=7.0)],
    "shifted by channel": [do("NormalizeIntensityd", subtrahend=[30.0], divisor=[7.0], channel_wise=True)],
    "range without a target": [do("ScaleIntensityRanged", a_min=0, a_max=100)],
    "unclipped range to -1..1": [do("ScaleIntensityRanged", a_min=0, a_max=100, b_min=-1, b_max=1)],
    "percentiles": [do("ScaleIntensityRangePercentilesd", lower=1, upper=99, b_min=0, b_max=1, clip=True)],
    "relative percentiles": [
        do("ScaleIntensityRangePercentilesd", lower=5, upper=95, b_min=0, b_max=2, relative=True)
    ],
    "percentiles twice": [do("ScaleIntensityd"), do("ScaleIntensityRangePercentilesd", lower=2, upper=98, b_min=0,
                                                    b_max=1, clip=True)],
    "threshold": [do("ThresholdIntensityd", threshold=-57, above=True, cval=-57), WINDOW],
    "clip at percentiles": [do("ClipIntensityPercentilesd", lower=1, upper=99)],
    "resize": [do("Resized", spatial_size=[16, 16, 8], mode="trilinear"), ZSCORE],
    "resize by area": [do("ScaleIntensityd"), do("Resized", spatial_size=[10, 10, 5], mode="area")],
    "resize the longest": [do("Resized", spatial_size=12, size_mode="longest", mode="nearest-exact")],
    "pads": [ZSCORE, do("SpatialPadd", spatial_size=[32, 32, 8]), do("DivisiblePadd", k=16, method="end")],
    "pads by the edge": [do("BorderPadd", spatial_border=[2, 3, 1], mode="edge"), do("ScaleIntensityd")],
    "pad or crop": [do("ResizeWithPadOrCropd", spatial_size=[12, 32, 8]), ZSCORE],
    "cast": [do("CastToTyped", dtype="float32"), do("EnsureTyped", data_type="tensor"), ZSCORE],
    "keys of the label, too": [
        {"_target_": "Orientationd", "keys": ["image", "label"], "axcodes": "RAS"},
        {"_target_": "Spacingd", "keys": ["image", "label"], "pixdim": [2, 2, 3], "mode": ["bilinear", "nearest"]},
        {"_target_": "CropForegroundd", "keys": ["image", "label"], "source_key": "image"},
        {"_target_": "SpatialPadd", "keys": ["image", "label"], "spatial_size": [32, 32, 16]},
    ],
    "nearly met": [do("Spacingd", pixdim=[1.0, 1.2005, 4.0])],
    "canonical": [do("Orientationd", as_closest_canonical=True), SPACING],
    "words for flags": [do("NormalizeIntensityd", nonzero="True", channel_wise="True")],
}  # fmt: skip


def written(folder, content):
    (folder / "configs").mkdir(parents=True, exist_ok=True)
    (folder / "configs" / "inference.json").write_text(json.dumps(content))
    return folder


def ours(folder, raw, *, channels=1, trust=False):
    """The image that imaseg would feed to the network, and what it found out about the bundle."""
    found = Preprocessing(BundleConfig(folder, trust=trust), channels=channels)
    recipe = Card(recipe=found.recipe).recipe
    source = CaseSource(load_cases(raw), ModelCard(**CARD, in_channels=channels, recipe=recipe), found.prepare)
    loaded = source.load(load_cases(raw)[0])
    return loaded, found


def by_monai(content, item):
    from monai.bundle import ConfigParser

    transform = ConfigParser(deepcopy(content)).get_parsed_content("preprocessing")
    for one in transform.flatten().transforms:
        one.allow_missing_keys = True
    return transform(item)["image"]


def check(tmp_path, content, *, channels=1, trust=False, item=None):
    files = volume(tmp_path / "raw", channels)
    names = [str(file) for file in files]
    loaded, found = ours(written(tmp_path / "b", content), tmp_path / "raw", channels=channels, trust=trust)
    wanted = by_monai(content, item(names) if item else {"image": names if channels > 1 else names[0]})
    image = loaded.volume.image
    assert image.shape == tuple(wanted.shape)
    np.testing.assert_allclose(image, wanted.numpy(), atol=1e-4)
    np.testing.assert_allclose(loaded.volume.affine, wanted.affine.numpy(), atol=1e-3)
    assert loaded.label.shape == image.shape[1:]
    return found, loaded


@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
def test_the_order_of_transforms_counts_as_for_monai(tmp_path, chain):
    check(tmp_path, with_transforms([*READ, *chain]))


WAYS = {
    "one list": "$@all",
    "a list with a blank": "$@all ",
    "two lists joined": "$@first + @second",
    "a list in brackets": "$[@first, @second]",
    "a choice": "$@all if @whole else @first",
    "a part": "$@all[:4] + @all[4:]",
    "references in a list": ["@first#0", "@first::1", "@first#2", "@second#0", "@second#1"],
    "spread lists": "$[*@first, *@second]",
    "a copy by code": "$copy.deepcopy(@first) + @second",
    "a disabled group": ["@all", {"_target_": "Compose", "_disabled_": "true", "transforms": ["@first#2"] * 9}],
    "a copy as it is written": ["%first#0", "%first#1", "%first#2", "%second"],
    "nested": [{"_target_": "Compose", "transforms": "@first"}, {"_target_": "monai.transforms.Compose",
                                                                "transforms": ["@second#0", "@second#1"]}],
    "disabled ones": ["@first", {"_target_": "Resized", "keys": "image", "spatial_size": 3, "_disabled_": True},
                      "@second"],
    "a list that joins inside": ["$@first + @second"],
}  # fmt: skip


@pytest.mark.parametrize("transforms", WAYS.values(), ids=WAYS)
def test_all_ways_of_writing_a_list_are_one(tmp_path, transforms):
    first, second = [*READ, RAS], [SPACING, WINDOW]
    content = with_transforms(transforms, first=first, second=second, all=first + second, whole=True)
    volume(tmp_path / "raw")
    loaded, found = ours(written(tmp_path / "b", content), tmp_path / "raw")
    plain, _ = ours(written(tmp_path / "c", with_transforms([*first, *second])), tmp_path / "raw")
    np.testing.assert_array_equal(loaded.volume.image, plain.volume.image)
    assert found.recipe["orientation"] == "RAS"
    assert found.recipe["spacing"] == [1.5, 1.5, 2.0]
    assert (found.recipe["window"]["low"], found.recipe["window"]["high"]) == (-57, 164)


PLACES = {
    "pre_transforms": {"pre_transforms": "@here"},
    "preprocessing_transforms": {"preprocessing_transforms": "@here"},
    "val_transforms": {"val_transforms": {"_target_": "Compose", "transforms": "@here"}},
    "by the data set": {"dataset": {"_target_": "Dataset", "transform": "@mine"}, "mine": "@here",
                        "preprocessing": [READ[0]]},
    "by the evaluator": {"evaluator": {"val_data_loader": "@loader"}, "loader": {"dataset": {"transform": "@here"}},
                         "preprocessing": [READ[0]]},
    "validate": {"validate": {"preprocessing": {"_target_": "Compose", "transforms": "@here"}}},
    "validate in one word": {"validate#preprocessing": {"_target_": "Compose", "transforms": "@here"}},
}  # fmt: skip


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_preprocessing_is_found_where_the_bundle_keeps_it(tmp_path, place):
    content = {"network_def": {}, "here": [*READ, RAS, SPACING, WINDOW]} | place
    recipe = Preprocessing(BundleConfig(written(tmp_path, content), trust=False), channels=1).recipe
    assert [entry["_target_"] for entry in recipe["transforms"]] == ["Orientationd", "Spacingd", "ScaleIntensityRanged"]


def test_evaluate_lies_over_train_where_there_is_no_inference(tmp_path):
    (tmp_path / "configs").mkdir()
    train = {"network_def": {}, "validate": {"preprocessing": [*READ, RAS, "@norm"]}, "norm": WINDOW}
    (tmp_path / "configs" / "train.json").write_text(json.dumps(train))
    (tmp_path / "configs" / "evaluate.json").write_text(json.dumps({"validate#preprocessing#2": SPACING}))
    config = BundleConfig(tmp_path, trust=False)
    assert config.path.name == "evaluate.json"
    recipe = Preprocessing(config, channels=1).recipe
    assert [entry["_target_"] for entry in recipe["transforms"]] == ["Spacingd", "ScaleIntensityRanged"]


@pytest.mark.parametrize(
    ("chain", "normalise"),
    [
        ([do("ScaleIntensityd"), ZSCORE], "zscore"),
        ([do("ScaleIntensityRanged", a_min=0, a_max=9, b_min=0, b_max=1), ZSCORE], "zscore"),
        ([ZSCORE, do("ScaleIntensityd")], "percentile"),
        ([WINDOW, ZSCORE], "transforms"),
        ([do("ScaleIntensityd", minv=-1, maxv=1)], "transforms"),
        ([do("NormalizeIntensityd", nonzero=True), do("ScaleIntensityd")], "transforms"),
        ([do("NormalizeIntensityd", subtrahend=10.0, divisor=5.0)], "window"),
    ],
)
def test_affine_steps_fold(tmp_path, chain, normalise):
    config = BundleConfig(written(tmp_path, with_transforms([*READ, *chain])), trust=False)
    assert Preprocessing(config, channels=1).recipe["normalise"] == normalise


def test_modalities_of_their_own_keys_are_channels(tmp_path):
    keys = ["late", "early"]
    chain = [
        {"_target_": "LoadImaged", "keys": [*keys, "label"]},
        {"_target_": "EnsureChannelFirstd", "keys": [*keys, "label"]},
        {"_target_": "Orientationd", "keys": [*keys, "label"], "axcodes": "RAS"},
        {"_target_": "Spacingd", "keys": [*keys, "label"], "pixdim": [2, 2, 3], "mode": ["bilinear"] * 2 + ["nearest"]},
        {"_target_": "NormalizeIntensityd", "keys": "early"},
        {"_target_": "ConcatItemsd", "keys": keys, "name": "image"},
        {"_target_": "SelectItemsd", "keys": ["image", "label"]},
    ]
    content = with_transforms(chain)

    def item(names):
        label = names[0].replace("images", "labels").replace("_0000", "")
        return {"late": names[0], "early": names[1], "label": label}

    check(tmp_path, content, channels=2, item=item)


@pytest.mark.parametrize("channel_wise", [False, True])
def test_channels_together_or_each(tmp_path, channel_wise):
    chain = [do("ScaleIntensityd", channel_wise=channel_wise), do("NormalizeIntensityd", channel_wise=channel_wise)]
    found, loaded = check(tmp_path, with_transforms([READ[0], *chain]), channels=2)
    assert found.recipe["normalise"] == ("zscore" if channel_wise else "transforms")
    shifts = [step["mean"] for step in loaded.steps if step["name"] == "normalise"]
    assert (shifts[0] == pytest.approx(shifts[1], rel=1e-4)) is not channel_wise


REFUSED = {
    "an author's class": (do("scripts.mine.Spacingd", pixdim=1), "got scripts.mine.Spacingd"),
    "a lambda": (do("Lambdad", func="$lambda x: x / 2"), "got Lambdad with code in it .*func"),
    "a function as argument": (
        do("CropForegroundd", source_key="image", select_fn="$lambda x: x > 3"), "CropForegroundd with code"
    ),
    "a random one": (do("RandFlipd", prob=0.5), "got RandFlipd"),
    "a step by the label": (do("CropForegroundd", source_key="label"), "CropForeground by the label"),
    "a lazy one": (do("Spacingd", pixdim=1, lazy=True), "Spacing, which is lazy"),
    "another axis of channels": (do("EnsureChannelFirstd", channel_dim=1), "EnsureChannelFirst with channel_dim"),
    "a turned reader": (do("LoadImaged", reverse_indexing=False), "LoadImage with reverse_indexing"),
    "one of several": ({"_target_": "OneOf", "transforms": [do("Flipd"), do("ScaleIntensityd")]}, "got OneOf"),
    "a lazy group": ({"_target_": "Compose", "transforms": [], "lazy": True}, "must not be lazy"),
    "half precision": (do("EnsureTyped", dtype="$torch.float16"), "got EnsureType to float16"),
    "a cast to integers": (do("CastToTyped", dtype="$np.uint8"), "got CastToType to uint8"),
    "integers": (do("LoadImaged", dtype="uint8"), "LoadImage as uint8"),
    "an unknown one": (do("Nonsensed"), "got Nonsensed"),
    "a turned contrast": (do("ScaleIntensityRanged", a_min=9, a_max=0), "turns dark into bright"),
    "no direction": (do("Orientationd", axcodes="RAX"), "Orientation to RAX"),
    "words for numbers": (do("Spacingd", pixdim=[2, "nan", 2]), "arguments of another type"),
    "words for limits": (do("ScaleIntensityRanged", a_min="low", a_max=3), "must be|of another type"),
    "a wrong argument": (do("Spacingd", pixdimension=1), "Spacingd must be made with its arguments"),
    "code for a whole list": ("$monai.transforms.Compose([])", "code at preprocessing"),
    "a reference to nothing": ("@nowhere", "must hold 'nowhere'"),
    "another file": ("%elsewhere.json::list", "must refer to files in configs/"),
}  # fmt: skip


@pytest.mark.parametrize(("transform", "text"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_followed_as_data_is_refused(tmp_path, transform, text):
    content = with_transforms([*READ, transform])
    with pytest.raises(InputError, match=text):
        Preprocessing(BundleConfig(written(tmp_path, content), trust=False), channels=1)


@pytest.mark.parametrize(
    ("transform", "text"),
    [
        (do("ThresholdIntensityd", threshold=50, above=True, cval=0), "by a rising line"),
        (do("Resized", spatial_size=[8, 8, 8], anti_aliasing=True, mode="trilinear"), "got smoothing"),
        (do("Resized", spatial_size=[8, 8, 8], mode="nearest"), "got mode 'nearest'"),
        (do("CopyItemsd", names="other"), None),
        (do("SpatialCropd", roi_center=[90, 90, 90], roi_size=[4, 4, 4]), "SpatialCropd must leave an image"),
    ],
)
def test_what_cannot_be_undone_is_refused(tmp_path, transform, text):
    volume(tmp_path / "raw")
    folder = written(tmp_path / "b", with_transforms([*READ, transform]))
    if text is None:
        assert ours(folder, tmp_path / "raw")[0].volume.shape == (24, 20, 7)
        return
    with pytest.raises(InputError, match=text):
        ours(folder, tmp_path / "raw")


TRUSTED = {
    "a lambda": do("Lambdad", func="$lambda x: x * 2 + 1"),
    "foreground by a function": do("CropForegroundd", source_key="image", select_fn="$lambda x: x > 100"),
}


@pytest.mark.parametrize("transform", TRUSTED.values(), ids=TRUSTED)
def test_with_trust_monai_runs_what_data_cannot_say(tmp_path, transform):
    found, loaded = check(tmp_path, with_transforms([*READ, RAS, transform, WINDOW]), trust=True)
    assert found.prepare is not None
    assert "run as its author's code" in found.notes[0]
    assert found.recipe["orientation"] == "RAS"
    assert loaded.steps


def test_with_trust_code_may_make_the_whole_list(tmp_path):
    content = with_transforms("$@base + [monai.transforms.ScaleIntensityd('image')]", base=[*READ, RAS, SPACING])
    found, _ = check(tmp_path, content, trust=True)
    assert found.prepare is not None


def test_code_that_cannot_be_undone_is_refused_with_trust_too(tmp_path):
    volume(tmp_path / "raw")
    folder = written(tmp_path / "b", with_transforms([*READ, do("Lambdad", func="$lambda x: x ** 2")]))
    with pytest.raises(InputError, match="Lambdad must scale grey values by a rising line"):
        ours(folder, tmp_path / "raw", trust=True)


def test_pictures_are_2d_images_for_a_resize_to_two_sides(tmp_path):
    from PIL import Image

    rng = np.random.default_rng(0)
    for name, pixels in (("images", rng.integers(0, 255, (30, 45, 3))), ("labels", np.ones((30, 45)))):
        (tmp_path / "raw" / name).mkdir(parents=True)
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "raw" / name / "a.png")
    chain = [do("LoadImaged"), do("EnsureChannelFirstd", channel_dim=-1)]
    chain += [do("Resized", spatial_size=[24, 16], mode=["bilinear"]), do("ScaleIntensityd")]
    content = with_transforms(chain)
    loaded, _ = ours(written(tmp_path / "b", content), tmp_path / "raw", channels=3)
    wanted = by_monai(content, {"image": str(tmp_path / "raw" / "images" / "a.png")})
    np.testing.assert_allclose(loaded.volume.image[..., 0], wanted.numpy(), atol=1e-4)
    assert INFERENCE["preprocessing"]["transforms"]
