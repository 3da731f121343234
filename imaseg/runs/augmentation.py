"""Random changes of training patches: the usual ones, or MONAI's transforms by name as a configuration lists them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from monai import transforms
from monai.transforms import (
    CenterSpatialCropd,
    Lambdad,
    MapTransform,
    RandAdjustContrastd,
    RandAffined,
    RandCropByPosNegLabeld,
    RandFlipd,
    RandGaussianNoised,
    Randomizable,
    RandScaleIntensityd,
    RandSpatialCropd,
    ToTensord,
    Transform,
)

from imaseg.errors import InputError, did_you_mean
from imaseg.runs.config import TrainConfig

ALL = ["image", "label", "inside"]
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=\b[LR])(?=[A-Z][a-z])")
_SIDE = re.compile(r"(?<![a-z])(left|right|([lr][ht]?)(?![a-z0-9]))", re.IGNORECASE)
"""Rather a word too many: a case that is not mirrored is no harm, one that is turns a left kidney into a right one."""
_MOVING = re.compile(r"Affine|Rotate|Zoom|Elastic|Distortion|Deform")
"""In names of transforms that move voxels, so that label and padding must go along."""
_MODES = {"RandZoomd": ("trilinear", "nearest-exact", "nearest-exact")}
"""Interpolation of image, label and padding where it has other names; `nearest` would shift labels by half a voxel."""
_OTHER = re.compile(r"Crop|Resize|Sample|Simulate|Patch|Rotate90|2D|Lambda|Flip")
"""In names of those that change the size of a patch, run code of their own, or mirror, which is `flip`'s part."""


def flipped_axes(config: TrainConfig, labels: Mapping[int, str]) -> list[str]:
    """Axes that are mirrored at random: as the configuration says, by itself x unless a label names a side."""
    if config.flip != "auto":
        return list(dict.fromkeys(config.flip))
    return [] if sided(labels) else ["x"]


def sided(labels: Mapping[int, str]) -> list[str]:
    """Names of labels that tell left from right, which a mirrored image would make wrong.

    >>> sided({1: "left kidney", 2: "Hippocampus_R", 3: "vertebra L1", 4: "upright", 5: "RightLung"})
    ['left kidney', 'Hippocampus_R', 'RightLung']
    """
    return [name for name in labels.values() if _SIDE.search(_CAMEL.sub("_", name))]


def augmentation(config: TrainConfig, labels: Mapping[int, str]) -> list[Transform]:
    """Transforms of items with the keys image, label and inside: crop to the patch, then random changes.

    Raises:
        InputError: if a transform that the configuration names does not exist, or does not take its arguments.
    """
    if config.augment is False:
        return [CenterSpatialCropd(ALL, config.patch), ToTensord(ALL, track_meta=False)]
    share = config.foreground
    crop = (
        RandCropByPosNegLabeld(ALL, "label", config.patch, pos=share, neg=1 - share)
        if share
        else RandSpatialCropd(ALL, config.patch, random_size=False)
    )
    flips = [RandFlipd(ALL, prob=0.5, spatial_axis="xyz".index(axis)) for axis in flipped_axes(config, labels)]
    changes = _usual(config) if config.augment is True else [_named(config, entry) for entry in config.augment]
    # Some transforms write into what they are given, and a crop is a view of the case that is held in memory.
    own = Lambdad(ALL, torch.clone, track_meta=False)
    return [crop, own, *flips, *changes, ToTensord(ALL, track_meta=False)]


def _usual(config: TrainConfig) -> list[Transform]:
    turn, grow = [0.15] * len(config.patch), [0.1] * len(config.patch)
    return [
        RandAffined(ALL, prob=0.3, rotate_range=turn, scale_range=grow, mode=("bilinear", "nearest", "nearest")),
        RandGaussianNoised("image", prob=0.2, std=0.05),
        RandScaleIntensityd("image", factors=0.1, prob=0.3),
        RandAdjustContrastd("image", prob=0.2, gamma=(0.8, 1.25), retain_stats=True),
    ]


def _named(config: TrainConfig, entry: Mapping[str, Any]) -> Transform:
    """A transform of MONAI; those that move voxels take label and padding along, to the nearest voxel."""
    name, arguments = str(entry.get("name")), {key: value for key, value in entry.items() if key != "name"}
    kind = _known().get(name)
    if kind is None or "keys" in arguments:
        got = f"keys for {name}, which it chooses itself" if kind is not None else f"{name!r}"
        mend = " Mirrored axes stand in `flip`." if "Flip" in name else did_you_mean(name, _known())
        msg = (
            f"{config.where}augment must list random transforms of MONAI on dictionaries that keep the size, such as "
            f"{{name: RandGaussianNoised, prob: 0.2}}, got {got}.{mend if kind is None else ' Leave keys out.'}"
        )
        raise InputError(msg)
    moving, given = bool(_MOVING.search(name)), dict(arguments)
    try:
        if moving and "mode" not in arguments and "mode" in inspect.signature(kind).parameters:
            arguments["mode"] = _MODES.get(name, ("bilinear", "nearest", "nearest"))
        keys = ALL if moving else ["image"]
        _try(kind(keys, **arguments | {"prob": 1.0}), config.patch)
        return kind(keys, **arguments)
    except Exception as error:  # MONAI checks its arguments in many ways
        reason = str(error.__cause__ or error)
        msg = f"{config.where}augment: {name} must get arguments that it takes, got {given} ({reason})."
        raise InputError(msg) from error


def _try(transform: Transform, patch: Sequence[int]) -> None:
    """Apply a transform to a patch of noise.

    Raises:
        ValueError: if it fails on it, changes its size, or makes values that are no numbers.
    """
    image = torch.rand(1, *patch, generator=torch.Generator().manual_seed(0))
    transform.set_random_state(seed=0)
    done = transform({"image": image, "label": (image > 0.5).float(), "inside": torch.ones_like(image)})
    for key in ALL:
        if done[key].shape != image.shape:
            msg = f"it makes a patch of {list(done[key].shape[1:])} of one of {list(patch)}"
            raise ValueError(msg)
        if not bool(torch.isfinite(torch.as_tensor(done[key])).all()):
            msg = "it makes values that are no numbers"
            raise ValueError(msg)


def _known() -> dict[str, Any]:
    found = {name: getattr(transforms, name) for name in dir(transforms) if re.fullmatch(r"Rand\w+d", name)}
    return {
        name: kind
        for name, kind in found.items()
        if isinstance(kind, type) and issubclass(kind, MapTransform) and issubclass(kind, Randomizable)
        if not _OTHER.search(name)
    }
