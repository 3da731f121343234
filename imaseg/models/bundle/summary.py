"""What the transforms of a bundle come to, in the words of a recipe: orientation, spacing, normalisation, size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_AXES = {"R": "x", "L": "x", "A": "y", "P": "y", "S": "z", "I": "z"}
_LINES = ("ScaleIntensityd", "ScaleIntensityRanged", "NormalizeIntensityd", "ShiftIntensityd")
"""Transforms of which one undoes any line before it; those that clip or know a background come to more than a line."""
_VALUES = (
    *_LINES, "ScaleIntensityRangePercentilesd", "ThresholdIntensityd", "ClipIntensityPercentilesd",
)  # fmt: skip


def described(entries: Sequence[Mapping[str, Any]], *, channels: int) -> dict[str, Any]:
    """Keys of a recipe that describe transforms, as far as its words go.

    Args:
        entries: as a recipe holds them.
        channels: number of channels of the image; 0 if unknown.
    """
    keys: dict[str, Any] = {}
    codes: str | None = None
    for entry in entries:
        if entry["_target_"] == "Orientationd":
            codes = str(entry.get("axcodes") or "RAS")
            keys["orientation"] = codes
        elif entry["_target_"] == "Spacingd":
            keys |= _spacing(entry.get("pixdim"), codes)
        elif entry["_target_"] == "CenterSpatialCropd":
            keys["size"] = [int(side) if side > 0 else None for side in _three(entry.get("roi_size"), -1)]
    return keys | _normalisation([entry for entry in entries if entry["_target_"] in _VALUES], channels)


def _spacing(pixdim: Any, codes: str | None) -> dict[str, Any]:
    sizes = [size if size is not None and size > 0 else None for size in _three(pixdim, None)]
    if codes is not None:
        order = [_AXES[code] for code in codes]
        sizes = [sizes[order.index(axis)] for axis in "xyz"]
    elif len({*sizes}) > 1:
        return {}
    return {"spacing": sizes}


def _three(value: Any, other: Any) -> list[Any]:
    given = list(value) if isinstance(value, list | tuple) else [value] * 3
    return (given + [other] * 3)[:3]


def _normalisation(entries: Sequence[Mapping[str, Any]], channels: int) -> dict[str, Any]:
    if not entries:
        return {"normalise": "none"}
    *first, last = entries
    if any(not _is_line(entry) for entry in first) or (first and not _forgets(last)):
        return {"normalise": "transforms"}
    if channels != 1 and last["_target_"] != "ScaleIntensityRanged" and not last.get("channel_wise"):
        return {"normalise": "transforms"}
    return _alone(last)


def _is_line(entry: Mapping[str, Any]) -> bool:
    """Whether a transform is a line through all grey values, so that one after it that forgets it gives the same."""
    if entry["_target_"] == "NormalizeIntensityd":
        return not entry.get("nonzero")
    return entry["_target_"] in _LINES and not entry.get("clip")


def _forgets(entry: Mapping[str, Any]) -> bool:
    """Whether a transform gives the same after any line: a z-score, or a scaling to a range by the image itself."""
    if entry["_target_"] == "NormalizeIntensityd":
        return not entry.get("nonzero") and entry.get("subtrahend") is None and entry.get("divisor") is None
    return entry["_target_"] in ("ScaleIntensityd", "ScaleIntensityRangePercentilesd") and not entry.get("factor")


def _alone(entry: Mapping[str, Any]) -> dict[str, Any]:
    name, ends = entry["_target_"], (entry.get("b_min"), entry.get("b_max"))
    if name == "ScaleIntensityRanged":
        to = (0.0, 1.0) if None in ends else ends
        window = {"low": entry["a_min"], "high": entry["a_max"], "to_low": to[0], "to_high": to[1]}
        return {"normalise": "window", "window": window | {"clip": bool(entry.get("clip", False))}}
    if name == "ScaleIntensityd" and (entry.get("minv", 0.0), entry.get("maxv", 1.0)) == (0, 1):
        return {"normalise": "percentile", "percentiles": [0, 100], "within": "image"}
    if name == "ScaleIntensityRangePercentilesd" and ends == (0, 1) and entry.get("clip") and not entry.get("relative"):
        return {"normalise": "percentile", "percentiles": [entry["lower"], entry["upper"]], "within": "image"}
    if name == "NormalizeIntensityd":
        return _zscore(entry)
    return {"normalise": "transforms"}


def _zscore(entry: Mapping[str, Any]) -> dict[str, Any]:
    mean, std = entry.get("subtrahend"), entry.get("divisor")
    if mean is None and std is None:
        return {"normalise": "masked-zscore"} if entry.get("nonzero") else {"normalise": "zscore", "within": "image"}
    if isinstance(mean, int | float) and isinstance(std, int | float) and std > 0 and not entry.get("nonzero"):
        return {"normalise": "window", "window": {"low": mean, "high": mean + std, "clip": False}}
    return {"normalise": "transforms"}
