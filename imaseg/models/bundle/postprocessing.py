"""Reads the postprocessing of a bundle: which activation it applies to the logits, and what imaseg leaves out."""

from __future__ import annotations

from typing import Any

from imaseg.errors import InputError
from imaseg.models.bundle.config import BundleConfig, KeyPath
from imaseg.models.bundle.expression import NotDataError
from imaseg.models.bundle.places import postprocessing_at

_WITHOUT_EFFECT = (
    "Invert", "SaveImage", "EnsureType", "ToTensor", "ToDevice", "CastToType", "CopyItems", "DeleteItems",
    "SelectItems", "SplitDim", "EnsureChannelFirst", "Identity", "FromMetaTensor", "ToMetaTensor", "LoadImage",
    "ConcatItems",
)  # fmt: skip
"""Transforms that leave every decision as it is."""


class Postprocessing:
    """What a bundle does to the output of its network.

    Args:
        config: configuration of the bundle.

    Attributes:
        activation: `softmax` or `sigmoid`, which it applies to what the network returns; None if it applies none.
        threshold: of each channel by itself; None if there is none.
        largest: whether the largest channel is said to win.
        back: what it takes back to the grid of the file, as `SegmentationModel.back`.
        left_out: sentences on what changes decisions and is not done here.
    """

    def __init__(self, config: BundleConfig) -> None:
        self.activation: str | None = None
        self.threshold: float | None = None
        self.largest = False
        self.back = "nearest"
        self.left_out: list[str] = []
        self._config, self._decided = config, False
        where = postprocessing_at(config)
        if where is None:
            return
        try:
            parts = config.parts(*where)
        except NotDataError:
            self.left_out.append(f"postprocessing of {config.path} is code, which is not read.")
            return
        for part in parts:
            self._read(part)

    @property
    def exclusive(self) -> bool:
        """Whether only one channel wins, so that one of them is the background."""
        return self.largest or self.activation == "softmax"

    def _read(self, path: KeyPath) -> None:
        written = self._config.entry(*path)[0]
        target = str(written.get("_target_", ""))
        module, _, name = target.rpartition(".")
        name = name.removesuffix("Dict").removesuffix("D").removesuffix("d") if _of_monai(module) else target
        keys = self._said(path, "keys")
        if str(self._said(path, "_disabled_")).lower() == "true" or keys in ("label", ["label"]):
            return
        if name == "Activations":
            self._activation(path, written)
        elif name == "AsDiscrete":
            self._decided = True
            self._discrete(path)
        elif name == "Invert":
            nearest = self._decided or _first(self._said(path, "nearest_interp")) is not False
            self.back = "nearest" if nearest else self.activation or "logits"
        elif name not in _WITHOUT_EFFECT:
            arguments = {key: self._said(path, key) for key in written if key not in ("_target_", "keys")}
            told = ", ".join(f"{key} {_short(value)}" for key, value in arguments.items())
            self.left_out.append(f"{name}{f' ({told})' if told else ''}")

    def _activation(self, path: KeyPath, written: dict[str, Any]) -> None:
        for name in ("softmax", "sigmoid"):
            if _first(self._said(path, name)) is True or str(_first(self._said(path, name))).lower() == "true":
                self.activation = name
        if "other" in written:
            self.left_out.append("Activations (other)")

    def _discrete(self, path: KeyPath) -> None:
        self.largest = self.largest or _first(self._said(path, "argmax")) is True
        threshold = _first(self._said(path, "threshold", "threshold_values"))
        if isinstance(threshold, int | float) and not isinstance(threshold, bool):
            self.threshold = float(threshold)
            if self.activation is not None and self.threshold != 0.5:
                self.left_out.append(f"AsDiscrete (threshold {threshold:g}): the model's classes are split at 0.5")
        if _first(self._said(path, "rounding")) is not None:
            self.left_out.append("AsDiscrete (rounding)")

    def _said(self, path: KeyPath, *names: str) -> Any:
        """The value of an argument as far as it is data."""
        for name in names:
            try:
                value = self._config.get(*path, name) if not self._is_code(path, name) else None
            except InputError:
                value = None
            if value is not None:
                return value
        return None

    def _is_code(self, path: KeyPath, name: str) -> bool:
        """Whether trust would run code to find an argument, which reading does not call for."""
        value = self._config.entry(*path, name)[0]
        return isinstance(value, str) and value.startswith("$lambda")


def _of_monai(module: str) -> bool:
    return module == "" or module.partition(".")[0] == "monai"


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list | tuple) and value else value


def _short(value: Any) -> str:
    return "code" if value is None else " ".join(str(value).split())[:60]
