"""Translates the preprocessing of a bundle into the transforms of a recipe, which MONAI runs and imaseg can undo."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imaseg.data.preparation.recorded.transforms import KNOWN, in_space, made, run_transforms
from imaseg.data.volume import Step, Volume
from imaseg.errors import InputError
from imaseg.models.bundle.config import BundleConfig, KeyPath
from imaseg.models.bundle.expression import NotDataError
from imaseg.models.bundle.places import ANNOTATIONS, preprocessing_at
from imaseg.models.bundle.summary import described

_READING = ("LoadImaged", "EnsureChannelFirstd", "AddChanneld", "AsChannelFirstd")
_NEUTRAL = (
    "EnsureTyped", "ToTensord", "ToDeviced", "SaveImaged", "Identityd", "SimulateDelayd", "FromMetaTensord",
    "ToMetaTensord",
)  # fmt: skip
"""Transforms that change neither values nor geometry."""
_AXES = {"R": "x", "L": "x", "A": "y", "P": "y", "S": "z", "I": "z"}
_PRECISE = (None, "float32", "float64")
_PER_KEY = ("mode", "padding_mode", "align_corners", "anti_aliasing", "dtype", "anti_aliasing_sigma")
"""Arguments that may have one value for each key."""
_SILENT = ("device", "_desc_", "_requires_", "_mode_", "_disabled_", "allow_missing_keys", "track_meta")
"""Arguments that change no voxel."""
_READERS = {"image_only", "ensure_channel_first", "reader", "keys", "dtype", "simple_keys", "meta_keys", "overwriting",
            "meta_key_postfix", "prune_meta_pattern", "prune_meta_sep", "expanduser", "channel_dim",
            "strict_check"}  # fmt: skip
"""Arguments of loaders that imaseg's readers need not heed."""


class Preprocessing:
    """The preprocessing transforms of a bundle.

    Args:
        config: configuration of the bundle.
        channels: number of channels of the image; 0 if unknown.

    Raises:
        InputError: if a transform is not supported.

    Attributes:
        recipe: keys of a recipe that does the same; None if the bundle has no preprocessing.
        prepare: does what no recipe can say, made by MONAI with trust; None if the recipe says it all.
        notes: sentences on what was assumed.
    """

    def __init__(self, config: BundleConfig, *, channels: int) -> None:
        self.recipe: dict[str, Any] | None = None
        self.prepare: Callable[[Volume], tuple[Volume, list[Step]]] | None = None
        self.notes: list[str] = []
        self._config, self._keys = config, ["image"]
        where = preprocessing_at(config)
        if where is None:
            return
        try:
            entries = self._entries(where)
            written = [entry for entry in entries if isinstance(entry, dict)]
            self.recipe = described(written, channels=channels) | {"transforms": written}
        except InputError:
            raise
        except (TypeError, ValueError, KeyError) as error:
            self._refuse(f"arguments of another type than MONAI takes ({error})")
            return
        if len(written) < len(entries):
            self.recipe |= {"normalise": "transforms"}
            self.prepare = self._prepared_by(entries)
            names = ", ".join(type(entry).__name__ for entry in entries if not isinstance(entry, dict))
            self.notes.append(f"{names} of the bundle's preprocessing run as its author's code, since you trust it.")

    def _entries(self, where: KeyPath) -> list[Any]:
        """Each transform that does something: as data, or made by MONAI where trust was given."""
        try:
            parts = self._config.parts(*where)
        except NotDataError as error:
            if not self._config.trust:
                self._refuse(f"code at {'#'.join(map(str, where))} ({error})")
            whole = _flat(self._config.build(*where))
            loaders = [one for one in whole if _dictionary_name(type(one).__name__) == "LoadImaged"]
            for loader in loaders:
                self._keys = [key for key in getattr(loader, "keys", ["image"]) if key not in ANNOTATIONS]
            return [one for one in whole if not _silent(type(one).__name__)]
        return [entry for part in parts if (entry := self._entry(part)) is not None]

    def _entry(self, path: KeyPath) -> Any:
        """One transform: as data, or made by MONAI where trust was given; None if it does nothing to an image."""
        written = self._config.entry(*path)[0]
        if str(self._config.get(*path, "_disabled_")).lower() == "true":
            return None
        name = _dictionary_name(str(written.get("_target_", "")))
        if name in _NEUTRAL and "dtype" not in written:
            return None
        given, code = {}, ""
        try:
            given = {key: self._config.get(*path, key) for key in written if key not in ("_target_", *_SILENT)}
        except InputError as error:
            if self._config.trust:
                raise
            code = f" with code in it ({error})"
        if not code and name in (*KNOWN, *_READING, *_NEUTRAL) and _plain(given):
            return self._translated(name, given)
        if not self._config.trust:
            self._refuse(f"{name}{code}")
        return self._config.build(*path)

    def _translated(self, name: str, given: dict[str, Any]) -> dict[str, Any] | None:
        keys = _listed(given.get("keys", "image"))
        images = [key for key in keys if key not in ANNOTATIONS]
        if name in _READING:
            self._read(name, given, images)
            return None
        if not images:
            return None
        if name in (*_NEUTRAL, "CastToTyped"):
            if given.get("dtype") not in _PRECISE:
                self._refuse(f"{name.removesuffix('d')} to {given['dtype']}")
            return None
        if str(given.pop("lazy", False)).lower() not in ("false", "none"):
            self._refuse(f"{name.removesuffix('d')}, which is lazy and would be joined with others")
        if str(given.get("source_key", "image")) in ANNOTATIONS:
            self._refuse(f"{name.removesuffix('d')} by the {given['source_key']}, which a new case does not have")
        codes = str(given.get("axcodes") or "RAS")
        if name == "Orientationd" and sorted(_AXES.get(code, "") for code in codes) != [*"xyz"]:
            self._refuse(f"Orientation to {codes}")
        if name == "ScaleIntensityRanged" and not (_rises(given, "a") and _rises(given, "b")):
            self._refuse("ScaleIntensityRange that turns dark into bright")
        entry = {"_target_": name, **given, "keys": images if len(images) > 1 else images[0]}
        for key in _PER_KEY:
            if isinstance(given.get(key), list) and len(given[key]) == len(keys):
                entry[key] = [value for name, value in zip(keys, given[key], strict=True) if name in images]
        made(entry)
        return entry

    def _read(self, name: str, given: Mapping[str, Any], images: Sequence[str]) -> None:
        """Refuse loaders that read otherwise than imaseg does."""
        if name == "LoadImaged" and images:
            self._keys = list(images)
        other = sorted(given.keys() - _READERS)
        if other or given.get("channel_dim") not in (None, "no_channel", -1, 3, "-1"):
            self._refuse(f"{name.removesuffix('d')} with {', '.join(other) or 'channel_dim'}")
        if given.get("dtype") not in _PRECISE:
            self._refuse(f"{name.removesuffix('d')} as {given['dtype']}")

    def _prepared_by(self, entries: Sequence[Any]) -> Callable[[Volume], tuple[Volume, list[Step]]]:
        transforms = [made(entry) if isinstance(entry, dict) else _on_items(entry) for entry in entries]
        written = [entry for entry in entries if isinstance(entry, dict)]
        keys, in_3d = self._keys, in_space(written)
        return AsAuthor(
            lambda volume: run_transforms(volume, transforms, keys, flat=volume.shape[2] == 1 and not in_3d),
            {"config": json.dumps(self._config.content, sort_keys=True, default=str), **_code(self._config.folder)},
        )

    def _refuse(self, what: str) -> None:
        msg = (
            f"preprocessing of {self._config.path} must be made of steps that imaseg knows and can undo, got {what}. "
            "Write `recipe:` into imaseg.yaml in the bundle's folder, or let MONAI run it with --trust."
        )
        raise InputError(msg)


@dataclass(frozen=True)
class AsAuthor:
    """A preparation with code in it.

    Attributes:
        run: does it.
        described: what rules it, fit for JSON: an audit is resumed only with the same.
    """

    run: Callable[[Volume], tuple[Volume, list[Step]]]
    described: dict[str, str]

    def __call__(self, volume: Volume) -> tuple[Volume, list[Step]]:
        """Prepare a case."""
        return self.run(volume)


def _code(folder: Path) -> dict[str, str]:
    """SHA-256 of each module of the bundle."""
    files = sorted(folder.rglob("*.py"))
    return {file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def _dictionary_name(target: str) -> str:
    """The name of the transform of dictionaries, `Spacingd`, for all of MONAI's spellings; else the whole target."""
    module, _, name = target.rpartition(".")
    if module and module.partition(".")[0] != "monai":
        return target
    for ending in ("Dict", "D", "d"):
        if name.endswith(ending) and f"{name.removesuffix(ending)}d" in {*KNOWN, *_READING, *_NEUTRAL}:
            return f"{name.removesuffix(ending)}d"
    return f"{name}d" if f"{name}d" in {*KNOWN, *_READING, *_NEUTRAL} else name


def _rises(given: Mapping[str, Any], which: str) -> bool:
    low, high = given.get(f"{which}_min"), given.get(f"{which}_max")
    return low is None or high is None or float(low) < float(high)


def _plain(value: Any) -> bool:
    """Whether an argument is nothing but numbers and words, also where trust has made more of it."""
    if isinstance(value, dict):
        return all(_plain(part) for part in value.values())
    if isinstance(value, list | tuple):
        return all(_plain(part) for part in value)
    return value is None or isinstance(value, bool | int | float | str)


def _listed(keys: Any) -> list[str]:
    return [str(key) for key in keys] if isinstance(keys, list | tuple) else [str(keys)]


def _flat(transform: Any) -> list[Any]:
    """The transforms of nested `Compose` objects and lists."""
    inside = transform if isinstance(transform, list | tuple) else getattr(transform, "transforms", None)
    return [transform] if inside is None else [one for part in inside for one in _flat(part)]


def _silent(name: str) -> bool:
    return _dictionary_name(name) in (*_NEUTRAL, *_READING)


def _on_items(transform: Any) -> Callable[[dict[str, Any]], Mapping[str, Any]]:
    """A transform of the author's as one of dictionaries, in which it may miss the label."""
    from monai.transforms import MapTransform, Transform

    if isinstance(transform, MapTransform):
        transform.allow_missing_keys = True
    of_arrays = isinstance(transform, Transform) and type(transform).__module__.startswith("monai.transforms.")
    if isinstance(transform, MapTransform) or not of_arrays:
        made_by_author: Callable[[dict[str, Any]], Mapping[str, Any]] = transform
        return made_by_author
    return lambda items: {**items, "image": transform(items["image"])}
