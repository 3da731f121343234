"""Small sound inputs of every kind, which are then damaged."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import SimpleITK
import torch
import yaml
from agreement import LOAD, MR, TURN, bundle, nnunet, smp_folder
from PIL import Image
from safetensors.torch import save_file

SHAPE = (7, 6, 5)
AFFINE = np.array([[-1.0, 0, 0, 4], [0, 1.2, 0, 5], [0, 0, 2.5, 6], [0, 0, 0, 1]])
UNET = {"spatial_dims": 3, "in_channels": 1, "out_channels": 3, "channels": [4, 8], "strides": [2]}


def voxels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 1000, SHAPE).astype(np.int16)


def label() -> np.ndarray:
    return (np.indices(SHAPE).sum(0) // 6).astype(np.uint8)


def nifti(ending: str, kind: Any = nib.Nifti1Image) -> Any:
    return lambda folder: nib.save(kind(voxels(), AFFINE), folder / f"x{ending}")


def itk(ending: str, *, packed: bool = False) -> Any:
    def make(folder: Path) -> None:
        image = SimpleITK.GetImageFromArray(np.ascontiguousarray(voxels().T))
        image.SetSpacing((1.0, 1.2, 2.5))
        SimpleITK.WriteImage(image, folder / f"x{ending}", useCompression=packed)

    return make


def picture(ending: str, **how: Any) -> Any:
    def make(folder: Path) -> None:
        pixels = np.random.default_rng(0).integers(0, 256, (12, 9, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"x{ending}", **how)

    return make


def slicer_pair(folder: Path) -> None:
    """An image and a segmentation of 3D Slicer with two segments."""
    for name, array in (("images/x.nrrd", voxels()), ("labels/x.seg.nrrd", label())):
        image = SimpleITK.GetImageFromArray(np.ascontiguousarray(array.T))
        for i, segment in enumerate(("inner", "outer") if "seg" in name else ()):
            image.SetMetaData(f"Segment{i}_Name", segment)
            image.SetMetaData(f"Segment{i}_LabelValue", str(i + 1))
            image.SetMetaData(f"Segment{i}_Layer", "0")
        (folder / name).parent.mkdir()
        SimpleITK.WriteImage(image, folder / name)


def msd(folder: Path) -> None:
    """Two phantoms, with their split."""
    from imaseg.data.phantom import write_phantom

    write_phantom(folder / "data", cases=2, shape=(12, 12, 8))


def nnunet_raw(folder: Path) -> None:
    for kind, name, array in (("imagesTr", "a_0000", voxels()), ("labelsTr", "a", label())):
        (folder / "data" / kind).mkdir(parents=True)
        nib.save(nib.Nifti1Image(array, AFFINE), folder / "data" / kind / f"{name}.nii.gz")
    content = {"channel_names": {"0": "MRI"}, "labels": {"background": 0, "inner": 1, "outer": 2}}
    content |= {"numTraining": 1, "file_ending": ".nii.gz"}
    (folder / "data" / "dataset.json").write_text(json.dumps(content))


def prepared(folder: Path) -> None:
    from imaseg.data.preparation.prepare import prepare
    from imaseg.data.preparation.recipe import load_recipe

    msd(folder)
    (folder / "data").rename(folder / "raw")
    prepare(folder / "raw", folder / "data", load_recipe("msd"), workers=1)
    shutil.rmtree(folder / "raw")


def recipe(folder: Path) -> None:
    from imaseg.data.preparation.recipe import load_recipe

    msd(folder)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(load_recipe("msd").model_dump(mode="json")))


CONFIG = {
    "network": {"name": "UNet", "channels": [4, 8], "strides": [2], "num_res_units": 0, "norm": "batch"},
    "patch": [12, 12, 8], "batch_size": 2, "epochs": 1, "learning_rate": 0.01, "augment": False,
    "loss": {"name": "DiceCELoss", "softmax": True, "to_onehot_y": True},
    "method": {"name": "ima", "perturbation": {"name": "l2", "eps": 0.2, "unit": "rms"}, "steps": 1, "increment": 0.1},
}  # fmt: skip
PLAN = {
    "name": "tiny", "verify": False, "seed": 1,
    "probes": [
        {"attack": "pgd", "perturbation": "l2", "unit": "std", "eps": [0.1, 0.5], "steps": 1},
        {"kind": "margin", "perturbation": "l2", "unit": "std", "eps": 1.0, "steps": 1, "rtol": 0.5,
         "criterion": {"name": "dice-below", "threshold": 0.5, "relative": True}},
        {"kind": "certificate", "sigma": 0.1, "unit": "std", "samples": 89, "cases": 1, "groups": 1},
        {"kind": "corruption", "corruptions": ["gamma"], "severities": [5]},
    ],
    "showcase": {"attack": "pgd", "eps": 0.5},
    "validity": {"cases": 1, "large_eps": 20, "scaled_eps": 0.5},
}  # fmt: skip


def config(folder: Path) -> None:
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG))


def plan(folder: Path) -> None:
    (folder / "plan.yaml").write_text(yaml.safe_dump(PLAN))


def run(folder: Path) -> None:
    """A run of one epoch, with the data it was trained on."""
    from imaseg.runs import TrainConfig, train

    prepared(folder)
    train(TrainConfig.model_validate(CONFIG), folder / "data", folder / "run")
    shutil.rmtree(folder / "run" / "tensorboard", ignore_errors=True)


def audit(folder: Path) -> None:
    """A finished audit, with its model and data."""
    from imaseg.auditing import audit as run_audit

    run(folder)
    plan(folder)
    run_audit(folder / "run", folder / "data", folder / "plan.yaml", folder / "audit", select="all")


def card(ending: str) -> Any:
    """A card of bare weights."""

    def make(folder: Path) -> None:
        from monai.networks.nets import UNet

        torch.manual_seed(0)
        state = UNet(**UNET).state_dict()
        save_file(state, folder / "w.safetensors") if ending == "safetensors" else torch.save(
            {"state_dict": state, "epoch": 3}, folder / f"w.{ending}"
        )
        content = {"class": "monai.networks.nets.UNet", "arguments": UNET, "weights": f"w.{ending}"}
        content |= {"labels": {1: "inner", 2: "outer"}}
        (folder / "card.yaml").write_text(yaml.safe_dump(content))

    return make


NAMES = {"background": 0, "inner": 1, "outer": 2}


def nnunet_model(folder: Path) -> None:
    nnunet(folder / "model", NAMES)


def bundle_model(folder: Path) -> None:
    bundle(folder / "model", NAMES, [*LOAD, TURN, *MR[-1:]])


def smp_model(folder: Path) -> None:
    smp_folder(folder / "model")
    content = {"recipe": {"normalise": "window", "window": {"low": 0, "high": 255}}, "labels": {"1": "1"}}
    (folder / "model" / "imaseg.yaml").write_text(yaml.safe_dump(content))
