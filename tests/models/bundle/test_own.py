"""A bundle's own pipeline gives what MONAI's evaluator gives, on the grid of the file."""

from __future__ import annotations

from copy import deepcopy

import nibabel as nib
import numpy as np
import pytest
import torch

from imaseg import InputError, load_model
from imaseg.models.bundle import own_pipeline
from tests.models.bundle.bundles import INFERENCE, METADATA, unet, volume, write_bundle

SOFTMAX = {"_target_": "Activationsd", "keys": "pred", "softmax": True}
ARGMAX = {"_target_": "AsDiscreted", "keys": ["pred", "label"], "argmax": [True, False]}
INVERT = {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing", "orig_keys": "image",
          "nearest_interp": False, "to_tensor": True}  # fmt: skip
SAVE = {"_target_": "SaveImaged", "keys": "pred", "output_dir": "$@bundle_root + '/eval'"}


def content(*after, **more):
    whole = deepcopy(INFERENCE) | {"postprocessing": {"_target_": "Compose", "transforms": list(after)}} | more
    whole["preprocessing"]["transforms"][2]["axcodes"] = "PLS"
    return whole


def code(text):
    return {"_target_": "Lambdad", "keys": "pred", "func": f"$lambda x: {text}"}


def by_evaluator(configuration, network, file):
    """The prediction of MONAI's own engine."""
    from monai.bundle import ConfigParser
    from monai.data import DataLoader, Dataset
    from monai.engines import SupervisedEvaluator
    from monai.transforms import Compose

    parser = ConfigParser(deepcopy(configuration))
    before, after = (parser.get_parsed_content(name) for name in ("preprocessing", "postprocessing"))
    kept = [one for one in after.transforms if type(one).__name__ != "SaveImaged"]
    for one in kept:
        one.allow_missing_keys = True
    loader = DataLoader(Dataset([{"image": str(file)}], before), batch_size=1)
    engine = SupervisedEvaluator(
        torch.device("cpu"), loader, network, inferer=parser.get_parsed_content("inferer"),
        postprocessing=Compose(kept),
        prepare_batch=lambda batch, device, non_blocking, **_: (batch["image"].to(device), None),
    )  # fmt: skip
    engine.run()
    return engine.state.output[0]["pred"]


PRED = {"_target_": "AsDiscreted", "keys": "pred", "argmax": True}


@pytest.mark.parametrize("after", [(SOFTMAX, INVERT, PRED, SAVE), (PRED, INVERT, SAVE)], ids=["before", "after"])
def test_it_predicts_as_the_evaluator_of_monai_does(tmp_path, after):
    (file,) = volume(tmp_path / "raw")
    network = unet(norm="batch")
    configuration = content(*after)
    configuration["network_def"]["norm"] = "batch"
    folder = write_bundle(tmp_path / "b", configuration, network=network)
    found = own_pipeline(folder, trust=True).predict(file)
    wanted = by_evaluator(configuration, network, file)
    np.testing.assert_array_equal(found.label, np.rint(wanted.numpy()[0]))
    assert found.rounded is (after[0] is PRED)
    np.testing.assert_allclose(found.affine, nib.load(file).affine, atol=1e-6)
    assert found.label.shape == nib.load(file).shape
    assert 0 < found.label.mean() < 1
    assert not (folder / "eval").exists()


def test_without_an_inversion_it_goes_back_to_the_file_all_the_same(tmp_path):
    (file,) = volume(tmp_path / "raw")
    folder = write_bundle(tmp_path / "a", content(ARGMAX))
    again = write_bundle(tmp_path / "b", content(ARGMAX, INVERT | {"nearest_interp": True}))
    one, other = (own_pipeline(where, trust=True).predict(file) for where in (folder, again))
    np.testing.assert_array_equal(one.label, other.label)
    np.testing.assert_allclose(one.affine, nib.load(file).affine, atol=1e-6)


def test_a_copy_of_the_transforms_may_invert(tmp_path):
    (file,) = volume(tmp_path / "raw")
    copied = INVERT | {"transform": "$copy.deepcopy(@preprocessing)"}
    folders = [
        write_bundle(tmp_path / name, content(SOFTMAX, invert, ARGMAX, imports=["$import copy"]))
        for name, invert in (("a", INVERT), ("b", copied))
    ]
    one, other = (own_pipeline(folder, trust=True).predict(file).label for folder in folders)
    np.testing.assert_array_equal(one, other)


def test_overlapping_structures_stay_channels(tmp_path):
    files = volume(tmp_path / "raw", 2)
    sigmoid = {"_target_": "Activationsd", "keys": "pred", "sigmoid": True}
    half = {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.5}
    configuration = content(sigmoid, half)
    configuration["network_def"]["in_channels"] = 2
    folder = write_bundle(tmp_path / "b", configuration, METADATA, unet(in_channels=2))
    pipeline = own_pipeline(folder, trust=True)
    assert pipeline.preprocess(files).shape[0] == 2
    found = pipeline.predict(files)
    assert found.label.dtype == bool
    assert found.label.shape == (2, *nib.load(files[0]).shape)


def test_what_it_takes_is_what_imaseg_feeds_to_the_network(tmp_path):
    from imaseg import load_model
    from imaseg.auditing.inputs.source import CaseSource
    from imaseg.data import load_cases

    (file,) = volume(tmp_path / "raw")
    folder = write_bundle(tmp_path / "b", content(SOFTMAX, INVERT, ARGMAX))
    cases = load_cases(tmp_path / "raw")
    ours = CaseSource(cases, load_model(f"bundle:{folder}").card).load(cases[0]).volume.image
    np.testing.assert_allclose(ours, own_pipeline(folder, trust=True).preprocess(file).numpy(), atol=1e-4)


@pytest.mark.parametrize(
    ("after", "trust", "text"),
    [
        ((SOFTMAX, ARGMAX), False, "runs code .*--trust"),
        ((code("x[:1] * 0.3"),), True, "must end in labels"),
        ((code("1 / 0"),), True, "must run on the case, got"),
    ],
)  # fmt: skip
def test_what_goes_wrong_is_one_line(tmp_path, after, trust, text):
    (file,) = volume(tmp_path / "raw")
    folder = write_bundle(tmp_path / "b", content(*after))
    with pytest.raises(InputError, match=text):
        own_pipeline(folder, trust=trust).predict(file)


def test_a_bundle_without_postprocessing_cannot_predict_by_itself(tmp_path):
    folder = write_bundle(tmp_path / "b", INFERENCE)
    with pytest.raises(InputError, match="must hold postprocessing"):
        own_pipeline(folder, trust=True)


def test_a_trusted_model_brings_it_along_and_paints_structures(tmp_path):
    from imaseg import load_model

    (file,) = volume(tmp_path / "raw")
    sigmoid = {"_target_": "Activationsd", "keys": "pred", "sigmoid": True}
    configuration = content(sigmoid, INVERT, {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.5})
    metadata = deepcopy(METADATA)
    metadata["network_data_format"]["outputs"]["pred"]["channel_def"] = {"0": "whole", "1": "core"}
    folder = write_bundle(tmp_path / "b", configuration, metadata)
    plain = load_model(f"bundle:{folder}")
    assert plain.own is None
    assert "--trust" in plain.no_own
    label = load_model(f"bundle:{folder}", trust=True).own.predict([file])
    channels = own_pipeline(folder, trust=True).predict(file).label
    np.testing.assert_array_equal(label, np.where(channels[1], 2, np.where(channels[0], 1, 0)))


@pytest.mark.parametrize(
    "after", [{"argmax": True, "to_onehot": 2}, {"threshold": 0.5}], ids=["one channel per class", "threshold"]
)
def test_channels_of_classes_are_told_from_structures(tmp_path, after):
    (file,) = volume(tmp_path / "raw")
    labels = []
    for name, last in (("a", after), ("b", {"argmax": True})):
        folder = write_bundle(
            tmp_path / name, content(SOFTMAX, INVERT, {"_target_": "AsDiscreted", "keys": "pred"} | last)
        )
        labels.append(load_model(f"bundle:{folder}", trust=True).own.predict([file]))
    np.testing.assert_array_equal(*labels)
    assert 0 < labels[0].mean() < 1
