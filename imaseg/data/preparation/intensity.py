"""Normalisation of the grey values of one channel, with the numbers that invert it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from imaseg.data.preparation.body import body_mask
from imaseg.data.preparation.recipe import Recipe, Window
from imaseg.data.volume import Step
from imaseg.errors import InputError

_AT_ONCE = 1 << 24
USUAL = Recipe()


def method_for(modality: tuple[str, ...], channel: int) -> str:
    """Normalisation of a channel for `auto`: `ct` (the same for all cases) for CT, else `zscore` (per case).

    >>> method_for(("CT",), 0), method_for(("T1", "FLAIR"), 1), method_for((), 0)
    ('ct', 'zscore', 'zscore')
    """
    return "ct" if channel < len(modality) and modality[channel].strip().upper() == "CT" else "zscore"


def method_of(normalise: str, modality: tuple[str, ...], channel: int) -> str:
    """Normalisation of a channel by a recipe's `normalise`, in which `auto` leaves it to the modality."""
    return method_for(modality, channel) if normalise == "auto" else normalise


def normalise(
    channel: NDArray[np.float32],
    method: str,
    cohort: dict[str, float],
    name: str,
    *,
    recipe: Recipe = USUAL,
    number: int = 0,
) -> tuple[NDArray[np.float32], Step]:
    """Scale one channel.

    Args:
        channel: (X, Y, Z).
        method: one of a recipe, but not `auto`.
        cohort: the intensity figures that `ct` needs.
        name: id of the case, for errors.
        recipe: says what `zscore` and `percentile` look at, the percentiles, and the window.
        number: index of the channel.

    Raises:
        InputError: if the channel does not vary there, or there is no window for it.
    """
    if method == "none":
        return channel, {"method": method}
    step: Step = {"method": method}
    if method == "ct":
        step |= {"low": cohort["percentile_00_5"], "high": cohort["percentile_99_5"]}
        step |= {"mean": cohort["mean"], "std": cohort["std"]}
    elif method == "range":
        lowest, highest = float(channel.min()), float(channel.max())
        in_a_byte = lowest >= 0 and 1 < highest <= 255
        step |= {"lowest": 0.0, "highest": 255.0} if in_a_byte else {"lowest": lowest, "highest": highest}
    elif method == "window":
        step |= _window(recipe, number, name)
    elif method == "masked-zscore":
        mean, std = _mean_and_std(_looked_at(channel, "nonzero"))
        step |= {"mean": mean, "std": std}
    else:
        body = _looked_at(channel, recipe.within)
        step |= {"within": recipe.within}
        if method == "zscore":
            mean, std = _mean_and_std(body)
            step |= {"mean": mean, "std": std}
        else:
            low, high = np.percentile(body.astype(np.float64), recipe.percentiles)
            step |= {"low": float(low), "high": float(high)}
    shift, scale = shift_and_scale(step)
    if not scale > 0:
        msg = f"{name}: image must vary in its foreground, got {shift:g} throughout."
        raise InputError(msg)
    scaled = np.empty_like(channel)
    turned = abs(channel.strides[0]) < abs(channel.strides[-1])
    source, target = (channel.T, scaled.T) if turned else (channel, scaled)
    for i, part in enumerate(source):  # slab by slab: float64 of a whole CT is gigabytes
        wide = np.array(part, np.float64)
        if "low" in step:
            wide.clip(step["low"], step["high"], out=wide)
        wide -= shift
        wide /= scale
        target[i] = wide
    if method == "masked-zscore":
        scaled[channel == 0] = 0
    return scaled, step


def _window(recipe: Recipe, number: int, name: str) -> Step:
    """Clip limits, shift (`mean`) and scale (`std`) of the recipe's window for a channel."""
    windows: tuple[Window, ...] = recipe.window or ()
    if len(windows) != 1 and number >= len(windows):
        msg = f"{name}: window must be given for each channel of the recipe, got {len(windows)}. Write window: into it."
        raise InputError(msg)
    window = windows[number if len(windows) > 1 else 0]
    scale = (window.high - window.low) / (window.to_high - window.to_low)
    clip = {"low": window.low, "high": window.high} if window.clip else {}
    return clip | {"mean": window.low - window.to_low * scale, "std": scale}


def _looked_at(channel: NDArray[np.float32], within: str) -> NDArray[np.float32]:
    if within == "image":
        return channel.ravel()
    mask = body_mask(channel, hounsfield=False) if within == "body" else channel != 0
    return channel[mask] if mask.any() else np.zeros(1, np.float32)


def _mean_and_std(values: NDArray[np.float32]) -> tuple[float, float]:
    """Mean and standard deviation in float64, of large arrays part by part to save memory."""
    if values.size <= _AT_ONCE:
        wide = values.astype(np.float64)
        return float(wide.mean()), float(wide.std())
    parts = [values[i : i + _AT_ONCE] for i in range(0, values.size, _AT_ONCE)]
    mean = sum(float(part.sum(dtype=np.float64)) for part in parts) / values.size
    squares = sum(float(((part.astype(np.float64) - mean) ** 2).sum()) for part in parts)
    return mean, float(np.sqrt(squares / values.size))


def shift_and_scale(step: Step) -> tuple[float, float]:
    """The two numbers of a normalise step: what was subtracted, and what the result was divided by."""
    if step["method"] == "none":
        return 0.0, 1.0
    if step["method"] == "percentile":
        return step["low"], step["high"] - step["low"]
    if step["method"] == "range":
        return step["lowest"], step["highest"] - step["lowest"]
    return step["mean"], step["std"]
