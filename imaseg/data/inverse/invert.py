"""Prepared images and labels taken back to native space by inverting the recorded steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax

from imaseg.data.preparation.bias import bias_field
from imaseg.data.preparation.box import take_box
from imaseg.data.preparation.intensity import shift_and_scale
from imaseg.data.preparation.resample import sample_grid
from imaseg.data.volume import Step


def invert_image(image: NDArray[np.float32], steps: Sequence[Step]) -> NDArray[np.float32]:
    """Take a prepared image back to the native grid and to native units.

    Args:
        image: (C, X, Y, Z) in prepared space, e.g. an adversarial one.
        steps: the records of its case.

    Returns:
        (C, X, Y, Z); voxels that were cropped away hold the darkest value of their channel.
    """
    image = image.astype(np.float32, copy=True)
    for step in steps:
        if step["name"] == "normalise":
            shift, scale = shift_and_scale(step)
            image[step["channel"]] = image[step["channel"]].astype(np.float64) * scale + shift
    return np.stack([_to_native_grid(channel, steps, fill=channel.min(), number=i) for i, channel in enumerate(image)])


def invert_label(label: NDArray[Any], steps: Sequence[Step]) -> NDArray[Any]:
    """Take a label or prediction (X, Y, Z) back to the native grid; what was cropped away is background."""
    return _to_native_grid(label, steps, fill=0)


def invert_logits(logits: NDArray[np.float32], steps: Sequence[Step], *, back: str = "logits") -> NDArray[np.int64]:
    """Decide on the native grid: values are interpolated to it, then the largest decides.

    Args:
        logits: (K, X, Y, Z) in prepared space, background first.
        steps: the records of its case.
        back: what is taken to the native grid, each as some software does it: `logits`, `softmax` or `sigmoid` of them,
            or the decisions themselves (`nearest`).

    Returns:
        Class (X, Y, Z); what was cropped away is background.
    """
    if back == "nearest":
        near = [step | {"back_orders": ("even",) * 3} if step["name"] == "resample" else step for step in steps]
        return _to_native_grid(logits.argmax(0).astype(np.float32), near, fill=0).astype(np.int64)
    values = {"softmax": partial(softmax, axis=0), "sigmoid": expit}.get(back, np.asarray)(logits).astype(np.float32)
    low, high = values.min(), values.max()
    best = _to_native_grid(values[0], steps, fill=high)
    decided = np.zeros(best.shape, np.int64)
    for k in range(1, len(values)):
        here = _to_native_grid(values[k], steps, fill=low)
        decided[here > best] = k
        np.maximum(best, here, out=best)
    return decided


def invert_painted(
    logits: NDArray[np.float32], steps: Sequence[Step], painted: Mapping[int, int], *, back: str = "logits"
) -> NDArray[np.int64]:
    """As `invert_logits`, of channels that are decided each by itself and painted over each other.

    Args:
        logits: (channels, X, Y, Z) in prepared space.
        steps: the records of its case.
        painted: class of each channel, in the order of painting.
        back: `sigmoid`, or else `logits`.
    """
    values, half = (expit(logits), 0.5) if back == "sigmoid" else (logits, 0.0)
    values = values.astype(np.float32)
    outside = 0.0 if back == "sigmoid" else -float(np.abs(values).max())
    decided = None
    for channel, k in painted.items():
        inside = _to_native_grid(values[channel], steps, fill=outside) > half
        decided = np.zeros(inside.shape, np.int64) if decided is None else decided
        decided[inside] = k
    return decided if decided is not None else np.zeros(logits.shape[1:], np.int64)


def native_scale(steps: Sequence[Step]) -> float | None:
    """Native units per prepared unit of intensity; None with several channels or N4, where it is no single number."""
    if any(step["name"] == "n4" for step in steps):
        return None
    scales = [shift_and_scale(step)[1] for step in steps if step["name"] == "normalise"]
    return float(scales[0]) if len(scales) == 1 else None


def _to_native_grid(array: NDArray[Any], steps: Sequence[Step], fill: Any, number: int | None = None) -> NDArray[Any]:
    """Invert crop, resampling and orientation in reverse order, and N4 if `array` is the image channel `number`."""
    for step in reversed(steps):
        if step["name"] == "crop":
            array = take_box(array, [-start for start in step["start"]], step["shape_from"], fill)
        elif step["name"] == "resample" and ("start" in step or step["spacing_from"] != step["spacing_to"]):
            ratio = np.asarray(step["spacing_from"]) / np.asarray(step["spacing_to"])
            shape = tuple(step["shape_from"])
            start = -np.asarray(step["start"]) * ratio if "start" in step else None
            array = sample_grid(array, shape, ratio, step.get("back_orders", (1, 1, 1)), start)
        elif step["name"] == "n4" and step["channel"] == number:
            array = array * bias_field(step, array.shape)
        elif step["name"] == "orient":
            here, there = (nib.orientations.axcodes2ornt(tuple(step[k])) for k in ("to", "from"))
            array = nib.apply_orientation(array, nib.orientations.ornt_transform(here, there))
    return array
