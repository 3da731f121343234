"""MONAI's transforms as steps of a recipe: MONAI runs them, in their order, and each is recorded by what it did.

A record is read off the affine (orient, resample, crop, pad) or the values (a clip and a line) before and after, so
that the order counts as it does for MONAI, and whatever cannot be undone is noticed rather than assumed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imaseg.data.preparation.recorded.grid import grid_steps, moved_affine, moved_array
from imaseg.data.preparation.recorded.values import Scale, fitted
from imaseg.data.preparation.room import require_grid
from imaseg.data.volume import Step, Volume
from imaseg.errors import InputError
from imaseg.progress import counted

KNOWN = frozenset(
    f"{name}d"
    for name in (
        "BorderPad", "CastToType", "CenterScaleCrop", "CenterSpatialCrop", "ClipIntensityPercentiles", "ConcatItems",
        "CopyItems", "CropForeground", "DeleteItems", "DivisiblePad", "Flip", "NormalizeIntensity", "Orientation",
        "Resize", "ResizeWithPadOrCrop", "Rotate90", "ScaleIntensity", "ScaleIntensityRange",
        "ScaleIntensityRangePercentiles", "SelectItems", "ShiftIntensity", "Spacing", "SpatialCrop", "SpatialPad",
        "ThresholdIntensity", "Zoom",
    )
)  # fmt: skip
"""Transforms that may stand in a recipe: MONAI's own, which take plain numbers and words."""
_ORDERS = {
    "nearest": "nearest",
    "nearest-exact": 0,
    "bilinear": 1,
    "trilinear": 1,
    "linear": 1,
    "bicubic": 3,
    "area": "area",
}
_SIDES = ("spatial_size", "roi_size", "pixdim", "spatial_border", "roi_center", "roi_start", "k", "zoom", "k_divisible")
"""Arguments with one number per spatial axis."""
_ROUNDING = 1e-9
Transform = Callable[[dict[str, Any]], Mapping[str, Any]]


@dataclass
class _Channel:
    """A channel on its way: which one of the volume it is, and what was done to it so far."""

    source: int
    steps: list[Step] = field(default_factory=list)
    scale: Scale = field(default_factory=Scale)


def apply_transforms(volume: Volume, entries: Sequence[Mapping[str, Any]]) -> tuple[Volume, list[Step]]:
    """Prepare a case with MONAI's transforms; the input is left as it is.

    Args:
        volume: the case.
        entries: as a recipe holds them: `_target_` and arguments.

    Raises:
        InputError: if a transform is not known, fails, or does what cannot be undone.
    """
    keys = image_keys(entries)
    transforms = [made(entry) for entry in entries]
    return run_transforms(volume, transforms, keys, flat=volume.shape[2] == 1 and not in_space(entries))


def run_transforms(
    volume: Volume, transforms: Sequence[Transform], keys: Sequence[str], *, flat: bool = False
) -> tuple[Volume, list[Step]]:
    """As `apply_transforms`, of transforms that were made already.

    Args:
        volume: the case.
        transforms: dictionary transforms.
        keys: of the images; if there are several, each holds one channel of the volume.
        flat: whether the single slice of the volume is a 2D image.
    """
    items, channels = _loaded(volume, keys, flat=flat)
    for transform in transforms:
        before = dict(items)
        items = _applied(transform, before, volume.id)
        channels = {
            key: _followed(key, items, before, channels, transform, volume.id)
            for key in items
            if hasattr(items[key], "shape") and items[key].ndim == 3 + (not flat)
        }
    return _result(volume, items, channels, flat=flat)


def image_keys(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """Keys under which the transforms find the images, in the order of the channels of the network's input."""
    joined = [entry for entry in entries if entry["_target_"] == "ConcatItemsd"]
    if joined:
        return list(joined[0]["keys"])
    first = next((entry["keys"] for entry in entries if entry.get("keys") is not None), "image")
    return [first] if isinstance(first, str) else list(first)


def made(entry: Mapping[str, Any]) -> Transform:
    """The transform that an entry of a recipe describes.

    Raises:
        InputError: if it is not known, or refuses its arguments.
    """
    from monai import transforms

    name = entry.get("_target_")
    if name not in KNOWN:
        msg = f"transforms must be among {', '.join(sorted(KNOWN))}, got {name!r}."
        raise InputError(msg)
    arguments = {key: value for key, value in entry.items() if key != "_target_"}
    if isinstance(arguments.get("dtype"), str):
        arguments["dtype"] = np.dtype(arguments["dtype"])
    try:
        transform = getattr(transforms, name)(**arguments)
    except Exception as error:  # MONAI checks its arguments in many ways
        raise InputError(_failed(name, "be made", error)) from error
    transform.allow_missing_keys = True  # a new case has no label
    known: Transform = transform
    return known


def in_space(entries: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a transform speaks of three axes, so that a single slice is a volume and no 2D image."""
    sides = [entry.get(key) for entry in entries for key in _SIDES]
    return any(entry["_target_"] == "Orientationd" for entry in entries) or any(
        isinstance(value, list | tuple) and len(value) in (3, 6) for value in sides
    )


def _loaded(volume: Volume, keys: Sequence[str], *, flat: bool) -> tuple[dict[str, Any], dict[str, list[_Channel]]]:
    """The volume as MONAI's loaders give it."""
    import torch
    from monai.data import MetaTensor

    count = len(volume.image)
    if len(keys) not in (1, count):
        msg = f"{volume.id}: image must have {counted(len(keys), 'channel')} ({', '.join(keys)}), got {count}."
        raise InputError(msg)
    image = volume.image[..., 0] if flat else volume.image
    affine = torch.eye(4, dtype=torch.float64) if flat else torch.from_numpy(volume.affine.copy())
    split = [list(range(count))] if len(keys) == 1 else [[i] for i in range(count)]
    items: dict[str, Any] = {
        key: MetaTensor(torch.from_numpy(image[own].copy()), affine=affine.clone(), meta={"filename_or_obj": volume.id})
        for key, own in zip(keys, split, strict=True)
    }
    items |= {f"{key}_meta_dict": dict(items[key].meta) for key in keys}  # where older transforms look for it
    return items, {key: [_Channel(i) for i in own] for key, own in zip(keys, split, strict=True)}


def _applied(transform: Transform, items: dict[str, Any], case: str) -> dict[str, Any]:
    if type(transform).__name__ == "Spacingd":
        _require_grids(transform, items, case)
    copied = {key: value.clone() if hasattr(value, "clone") else value for key, value in items.items()}
    try:
        return dict(transform(copied))
    except Exception as error:  # whatever MONAI raises on an image that it does not take
        msg = f"{case}: {_failed(type(transform).__name__, 'run', error)}"
        raise InputError(msg) from error


def _require_grids(transform: Any, items: Mapping[str, Any], case: str) -> None:
    """Check the voxels that `Spacingd` would make of each image; sizes that are not above 0 stay as they are."""
    for key in transform.key_iterator(items):
        image, wanted = items[key], np.asarray(transform.spacing_transform.pixdim, np.float64)
        here = np.asarray(image.pixdim, np.float64)
        wanted = np.resize(wanted, here.shape) if wanted.size == 1 else np.append(wanted, here[wanted.size :])
        with np.errstate(all="ignore"):
            ratio = np.where(wanted > 0, wanted / here, 1.0)[: len(here)]
        require_grid(case, image.shape[1:], ratio, len(image))


def _failed(name: str, what: str, error: Exception) -> str:
    told = " ".join(str(error.__cause__ or error).split())[:200]
    return f"{name} must {what} with its arguments, got {type(error).__name__}: {told}."


def _followed(
    key: str,
    items: Mapping[str, Any],
    before: Mapping[str, Any],
    channels: Mapping[str, list[_Channel]],
    transform: Transform,
    case: str,
) -> list[_Channel]:
    """What the channels of one key are after a transform."""
    after = items[key]
    if key in channels and len(after) == len(before[key]) and 0 not in after.shape:
        old = before[key]
        if _unmoved(old, after):
            return channels[key]
        if after is old or (after.shape == old.shape and _same_affine(after, old)):
            return [_scaled(channels[key][i], old[i], after[i], transform, case) for i in range(len(after))]
        return _moved(channels[key], old, after, transform, case)
    if 0 in after.shape:
        msg = f"{case}: {type(transform).__name__} must leave an image, got one of {tuple(after.shape)} voxels."
        raise InputError(msg)
    return [_found(channel, before, channels, transform, case) for channel in after]


def _scaled(channel: _Channel, before: Any, after: Any, transform: Transform, case: str) -> _Channel:
    old, new = _values(before).ravel(), _values(after).ravel()
    scale = fitted(old, new)
    for when, values in (("before", old), ("after", new)):
        if scale is None and values.min() == values.max():
            msg = f"{case}: image must vary {when} {type(transform).__name__}, got {values[0]:g} throughout."
            raise InputError(msg)
    chain = None if scale is None else channel.scale.then(scale)
    if chain is None:
        msg = (
            f"{case}: {type(transform).__name__} must scale grey values by a rising line, with or without clipping, so "
            "that it can be undone, got another change. Write `recipe:` into the card with steps that do."
        )
        raise InputError(msg)
    return replace(channel, scale=chain)


def _moved(channels: list[_Channel], before: Any, after: Any, transform: Transform, case: str) -> list[_Channel]:
    steps = None
    if hasattr(after, "affine") and hasattr(before, "affine"):
        old, new = (np.asarray(_in_3d(item.affine), float) for item in (before, after))
        shapes = [[*item.shape[1:], 1][:3] for item in (before, after)]
        steps = grid_steps(old, shapes[0], new, shapes[1])
    resampled = any(step["name"] == "resample" for step in steps or ())
    if steps is None or (resampled and not type(transform).__module__.startswith("monai.")):
        msg = f"{case}: {type(transform).__name__} must keep the axes, so that it can be undone, got a turned grid."
        raise InputError(msg)
    if not resampled:
        _check_voxels(before, after, steps, transform, case)
    orders = {"orders": [_order(transform)] * 3} if resampled else {}
    steps = [step | orders if step["name"] == "resample" else step for step in steps]
    return [replace(channel, steps=[*channel.steps, *steps]) for channel in channels]


def _check_voxels(before: Any, after: Any, steps: Sequence[Step], transform: Transform, case: str) -> None:
    """Refuse a transform that changes values while it turns, crops or pads."""
    for old, new in zip(before, after, strict=True):
        values, inside = _values(old), np.ones(old.shape, np.uint8)
        values, inside = (array if array.ndim == 3 else array[..., None] for array in (values, inside))
        for step in steps:
            values, inside = moved_array(values, step), moved_array(inside, step)
        kept = inside != 0
        if not np.array_equal(values[kept], _values(new).reshape(values.shape)[kept]):
            msg = f"{case}: {type(transform).__name__} must move voxels or change their values, got one that does both."
            raise InputError(msg)


def _found(
    wanted: Any, before: Mapping[str, Any], channels: Mapping[str, list[_Channel]], transform: Transform, case: str
) -> _Channel:
    """The channel that a new one is a copy of."""
    for key, known in channels.items():
        for i, channel in enumerate(known):
            old = _values(before[key][i])
            if old.shape == tuple(wanted.shape) and np.array_equal(old, _values(wanted)):
                return channel
    msg = f"{case}: {type(transform).__name__} must copy or join channels unchanged, got values of its own."
    raise InputError(msg)


def _result(
    volume: Volume, items: Mapping[str, Any], channels: Mapping[str, list[_Channel]], *, flat: bool
) -> tuple[Volume, list[Step]]:
    key = "image" if "image" in channels else next(iter(channels), "image")
    if key not in channels or ("image" not in channels and len(channels) > 1):
        msg = f"{volume.id}: transforms must leave one image, got {', '.join(channels) or 'none'}."
        raise InputError(msg)
    done = channels[key]
    if [channel.source for channel in done] != list(range(len(volume.image))):
        order = [channel.source for channel in done]
        msg = f"{volume.id}: transforms must keep all channels in their order, got {order} of {len(volume.image)}."
        raise InputError(msg)
    if any(channel.steps != done[0].steps for channel in done):
        msg = f"{volume.id}: transforms must treat the grids of all channels alike, got different ones."
        raise InputError(msg)
    steps = done[0].steps
    image = np.ascontiguousarray(_values(items[key]))
    label, affine = volume.label, volume.affine
    for step in steps:
        label, affine = None if label is None else moved_array(label, step), moved_affine(affine, step)
    records = [{"name": "normalise", "channel": i, **channel.scale.record()} for i, channel in enumerate(done)]
    prepared = replace(
        volume,
        image=image[..., None] if flat else image,
        label=None if label is None else np.ascontiguousarray(label),
        affine=affine,
    )
    return prepared, [*steps, *records]


def _order(transform: Any) -> int | str:
    """Order of the interpolation of a transform that resamples."""
    mode = getattr(transform, "mode", 1)
    mode = mode[0] if isinstance(mode, list | tuple) and mode else mode
    order = _ORDERS.get(str(getattr(mode, "value", mode)), mode)
    if order == "nearest":
        # For a spacing it is the nearest voxel; a resize takes the one before, and its affine does not say so.
        order = 0 if type(transform).__name__ == "Spacingd" else mode
    smoothed = getattr(getattr(transform, "resizer", None), "anti_aliasing", False)
    if order not in (0, 1, 3, "area") or smoothed or np.any(getattr(transform, "anti_aliasing", False)):
        what = "smoothing" if order in (0, 1, 3, "area") else f"mode {mode!r}"
        msg = f"{type(transform).__name__} must interpolate in a way that can be undone, got {what}."
        raise InputError(msg)
    return order


def _values(tensor: Any) -> NDArray[np.float32]:
    values: NDArray[np.float32] = np.asarray(tensor.as_tensor() if hasattr(tensor, "as_tensor") else tensor, np.float32)
    return values


def _unmoved(before: Any, after: Any) -> bool:
    """Whether a transform left an image alone, as a spacing does that is nearly met, whatever its affine says then."""
    if before.shape != after.shape or not np.array_equal(_values(before), _values(after)):
        return False
    if not (hasattr(before, "affine") and hasattr(after, "affine")):
        return True
    return bool((before.affine - after.affine)[:3, :3].abs().max() <= 1e-2 * before.affine[:3, :3].abs().max())


def _same_affine(one: Any, other: Any) -> bool:
    if not (hasattr(one, "affine") and hasattr(other, "affine")):
        return True
    return bool((one.affine - other.affine).abs().max() < _ROUNDING)


def _in_3d(affine: Any) -> NDArray[np.float64]:
    """A 2D affine (3, 3) as one of a volume (4, 4)."""
    affine = np.asarray(affine, float)
    if len(affine) == 4:
        return affine
    whole = np.eye(4)
    whole[:2, :2], whole[:2, 3] = affine[:2, :2], affine[:2, 2]
    return whole
