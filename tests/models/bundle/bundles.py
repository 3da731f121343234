"""Tiny bundles, written as those of the model zoo are."""

from __future__ import annotations

import json
from copy import deepcopy

import numpy as np
import torch
import yaml

from imaseg.data import write_nifti

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


def unet(**changes):
    from monai.networks.nets import UNet

    torch.manual_seed(0)
    return UNet(**ARGUMENTS | changes).eval()


def write_bundle(folder, inference=INFERENCE, metadata=METADATA, network=None, suffix="json"):
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    dump = json.dumps if suffix == "json" else yaml.safe_dump
    (folder / "configs" / f"inference.{suffix}").write_text(dump(inference))
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata))
    torch.save((network or unet()).state_dict(), folder / "models" / "model.pt")
    return folder


def changed(path, value):
    content = deepcopy(INFERENCE)
    *keys, last = path
    part = content
    for key in keys:
        part = part[key]
    part[last] = value
    return content


def with_transforms(transforms, **more):
    """The configuration with other preprocessing, and perhaps other entries."""
    content = changed(("preprocessing", "transforms"), transforms)
    return content | more


def volume(folder, channels=1, shape=(24, 20, 7)):
    """Write one anisotropic case whose axes are stored as LPS, with a rim of zeros; returns its files."""
    rng = np.random.default_rng(0)
    affine = np.diag([-1.0, -1.2, 4.0, 1.0])
    affine[:3, 3] = 12, -7, 3
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    files = []
    for channel in range(channels):
        voxels = rng.normal(50 + 30 * channel, 150, shape).astype(np.float32)
        voxels[:3], voxels[:, :, :1] = 0, 0
        name = "a" if channels == 1 else f"a_{channel:04d}"
        files.append(folder / "images" / f"{name}.nii.gz")
        write_nifti(files[-1], voxels, affine)
    write_nifti(folder / "labels" / "a.nii.gz", np.ones(shape), affine, dtype=np.uint8)
    return files
