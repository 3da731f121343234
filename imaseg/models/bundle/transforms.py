"""Translates the preprocessing of a bundle into a recipe of `imaseg prepare`, so that every step can be inverted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from imaseg.errors import InputError
from imaseg.models.bundle.config import BundleConfig, KeyPath

_NEUTRAL = (
    "LoadImage", "EnsureChannelFirst", "AddChannel", "EnsureType", "ToTensor", "ToDevice", "CastToType", "SelectItems",
    "SaveImage", "Identity", "AsChannelFirst", "SplitDim", "CopyItems", "DeleteItems",
)  # fmt: skip
"""Transforms that change neither values nor geometry."""
_LEFT_OUT = ("CropForeground", "SpatialPad", "DivisiblePad", "BorderPad", "ResizeWithPadOrCrop")
"""Transforms that only crop or pad the border; the model's own tiles and padding replace them."""
_AXES = {"R": "x", "L": "x", "A": "y", "P": "y", "S": "z", "I": "z"}


class Preprocessing:
    """The preprocessing transforms of a bundle.

    Args:
        config: configuration of the bundle.
        channels: number of channels of the image; 0 if unknown.

    Raises:
        InputError: if a transform is not supported.

    Attributes:
        recipe: keys of a recipe that does the same.
        axes: image axes in the order of the network; None if no transform sets them.
        flip: image axes that the network sees reversed.
        notes: sentences on transforms that were left out.
    """

    def __init__(self, config: BundleConfig, *, channels: int) -> None:
        self.recipe: dict[str, Any] = {}
        self.axes: str | None = None
        self.flip = ""
        self.notes: list[str] = []
        self._config, self._channels = config, channels
        for keys in _transform_keys(config, "preprocessing"):
            self._translate(keys)

    def _translate(self, keys: KeyPath) -> None:
        written, keys = self._config.entry(*keys)
        name = str(written.get("_target_", "")).rpartition(".")[2].removesuffix("Dict").removesuffix("D")
        name = name.removesuffix("d")
        if name in _NEUTRAL or self._config.get(*keys, "_disabled_") in (True, "true"):
            return
        if not _on_image(self._config.get(*keys, "keys")):
            return
        if name in _LEFT_OUT:
            self.notes.append(f"{name} of the bundle is left out: it only crops or pads the border.")
            return
        translators: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "Orientation": self._orientation,
            "Spacing": self._spacing,
            "ScaleIntensityRange": self._range,
            "ScaleIntensity": self._scale,
            "ScaleIntensityRangePercentiles": self._percentiles,
            "NormalizeIntensity": self._zscore,
            "CenterSpatialCrop": self._size,
        }
        if name not in translators:
            self._refuse(name)
        recipe_keys = translators[name](self._config.get(*keys))
        if recipe_keys.get("normalise") not in (None, "window") and self._channels != 1:
            transform = self._config.get(*keys)
            if not transform.get("channel_wise"):
                self._refuse(f"{name} over all {self._channels or 'perhaps several'} channels together")
        if "normalise" in recipe_keys and "normalise" in self.recipe:
            self._refuse(f"{name} after another normalisation")
        self.recipe |= recipe_keys

    def _orientation(self, transform: dict[str, Any]) -> dict[str, Any]:
        codes = str(transform.get("axcodes", "RAS")).upper()
        if sorted(_AXES.get(code, "") for code in codes) != ["x", "y", "z"]:
            self._refuse(f"Orientation to {codes}")
        self.axes = "".join(_AXES[code] for code in codes)
        self.flip = "".join(_AXES[code] for code in codes if code in "LPI")
        return {"orientation": "RAS"}

    def _spacing(self, transform: dict[str, Any]) -> dict[str, Any]:
        given = transform.get("pixdim", [])
        sizes = [float(size) for size in (given if isinstance(given, list | tuple) else [given] * 3)]
        sizes = (sizes * 3)[:3] if len(sizes) == 1 else (sizes + [-1.0] * 3)[:3]
        if self.axes is None and len({*sizes}) > 1:
            self._refuse("Spacing before Orientation")
        if self.axes is not None:
            sizes = [sizes[self.axes.index(axis)] for axis in "xyz"]
        return {"spacing": [size if size > 0 else None for size in sizes]}

    def _range(self, transform: dict[str, Any]) -> dict[str, Any]:
        low, high = float(transform["a_min"]), float(transform["a_max"])
        to_low, to_high = transform.get("b_min"), transform.get("b_max")
        ends = {"to_low": 0.0, "to_high": 1.0} if to_low is None or to_high is None else {
            "to_low": float(to_low), "to_high": float(to_high)
        }  # fmt: skip
        window = {"low": low, "high": high, "clip": bool(transform.get("clip", False))} | ends
        return {"normalise": "window", "window": window}

    def _scale(self, transform: dict[str, Any]) -> dict[str, Any]:
        if (transform.get("minv", 0.0), transform.get("maxv", 1.0)) != (0.0, 1.0) or transform.get(
            "factor"
        ) is not None:
            self._refuse("ScaleIntensity to other than 0..1")
        return {"normalise": "percentile", "percentiles": [0, 100], "within": "image"}

    def _percentiles(self, transform: dict[str, Any]) -> dict[str, Any]:
        if (transform.get("b_min"), transform.get("b_max")) != (0, 1) or not transform.get("clip", False):
            self._refuse("ScaleIntensityRangePercentiles to other than clipped 0..1")
        ends = [float(transform["lower"]), float(transform["upper"])]
        return {"normalise": "percentile", "percentiles": ends, "within": "image"}

    def _zscore(self, transform: dict[str, Any]) -> dict[str, Any]:
        if transform.get("subtrahend") is not None or transform.get("divisor") is not None:
            mean, std = transform.get("subtrahend") or 0.0, transform.get("divisor") or 1.0
            if isinstance(mean, list) or isinstance(std, list) or transform.get("nonzero"):
                self._refuse("NormalizeIntensity by channel or within nonzero voxels")
            return {
                "normalise": "window",
                "window": {"low": float(mean), "high": float(mean) + float(std), "clip": False},
            }
        if transform.get("nonzero"):
            return {"normalise": "masked-zscore"}
        return {"normalise": "zscore", "within": "image"}

    def _size(self, transform: dict[str, Any]) -> dict[str, Any]:
        given = transform.get("roi_size", [])
        sides = [int(side) for side in (given if isinstance(given, list | tuple) else [given] * 3)]
        return {"size": [side if side > 0 else None for side in (sides + [-1] * 3)[:3]]}

    def _refuse(self, what: str) -> None:
        msg = (
            f"preprocessing of {self._config.path} must be made of steps that imaseg knows and can undo, got {what}. "
            "Write `recipe:` into imaseg.yaml in the bundle's folder."
        )
        raise InputError(msg)


def _transform_keys(config: BundleConfig, *where: str | int) -> Iterator[KeyPath]:
    """Yield the paths of all transforms in an entry, which may nest `Compose` objects."""
    value, keys = config.entry(*where)
    if isinstance(value, dict) and "transforms" in value:
        yield from _transform_keys(config, *keys, "transforms")
    elif isinstance(value, list):
        for i in range(len(value)):
            yield from _transform_keys(config, *keys, i)
    elif isinstance(value, dict):
        yield keys


def _on_image(keys: Any) -> bool:
    """Whether a transform with these `keys` applies to the image."""
    keys = keys if isinstance(keys, list | tuple) else ["image" if keys is None else keys]
    return any(str(key) not in ("label", "pred", "seg", "mask") for key in keys)
