"""What a chain of intensity transforms does to one channel: prepared = (clip(native, low, high) - shift) / scale.

Every increasing line, with or without clipping, has that form, and so has any chain of them: a scaling to 0..1 followed
by a z-score is a z-score. Transforms that leave the background out give it a value of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imaseg.data.volume import Step

_TOLERANCE = 1e-4
"""Largest error of a fitted scale, as a share of the range of the result."""
_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class Scale:
    """A clip, then a line; and perhaps a background that has a value of its own.

    Attributes:
        shift, scale: what is subtracted, and what the difference is divided by.
        low, high: native values that are clipped at.
        background: the native value (or, at `low`, all values up to it) that does not follow the line; None: all do.
        becomes: the prepared value of the background.
    """

    shift: float = 0.0
    scale: float = 1.0
    low: float = -math.inf
    high: float = math.inf
    background: float | None = None
    becomes: float = 0.0

    def of(self, value: float) -> float:
        """The prepared value of a native one."""
        if value == self.background:
            return self.becomes
        return (min(max(value, self.low), self.high) - self.shift) / self.scale

    def then(self, after: Scale) -> Scale | None:
        """This scale followed by another; None if no scale does both."""
        low, high = (end * self.scale + self.shift for end in (after.low, after.high))
        background, becomes = self.background, after.of(self.becomes)
        if after.background is not None and not (background is not None and self.becomes == after.background):
            if background is not None:
                return None
            background, becomes = self._native(after.background), after.becomes
        return Scale(
            self.shift + after.shift * self.scale,
            self.scale * after.scale,
            max(low, self.low),
            min(high, self.high),
            background,
            becomes,
        )

    def record(self) -> Step:
        """The record of the step, without its channel."""
        ends = {"low": self.low, "high": self.high}
        step: Step = {"method": "line", "mean": self.shift, "std": self.scale}
        step |= ends if math.isfinite(self.low) or math.isfinite(self.high) else {}
        return step | ({} if self.background is None else {"background": self.background, "becomes": self.becomes})

    def _native(self, prepared: float) -> float:
        """The native value of a prepared one, which is exact where it is a clip limit or 0."""
        value = prepared * self.scale + self.shift
        near = [exact for exact in (self.low, 0.0) if abs(exact - value) <= 1e-5 * abs(self.scale)]
        return near[0] if near else value


def fitted(before: NDArray[np.float32], after: NDArray[np.float32]) -> Scale | None:
    """The scale that turned one channel into another, found in their values; None if there is no such scale.

    Args:
        before: (N,) values.
        after: (N,) values of the same voxels.
    """
    if np.array_equal(before, after):
        return Scale()
    tissue = before != 0
    tissue = tissue if tissue.any() else np.ones_like(tissue)
    line = _line(before[tissue], after[tissue])
    if line is None:
        return None
    if not tissue.all():
        dark = after[~tissue]
        value = float(dark[0])
        if not (dark == value).all():
            return None
        span = float(np.ptp(after)) or 1.0
        if abs(line.of(0.0) - value) > _TOLERANCE * span:
            line = Scale(line.shift, line.scale, line.low, line.high, 0.0, value)
    return line


def _line(before: NDArray[np.float32], after: NDArray[np.float32]) -> Scale | None:
    lowest, highest = float(after.min()), float(after.max())
    between = np.flatnonzero((after > lowest) & (after < highest))
    ends = _ends(before, between) or _ends(before, np.arange(len(before)))
    if ends is None:
        return None
    first, last = ends
    slope = (float(after[last]) - float(after[first])) / (float(before[last]) - float(before[first]))
    if not slope > 0:
        return None
    shift, tolerance = float(before[first]) - float(after[first]) / slope, _TOLERANCE * (highest - lowest)
    reach = [(float(end) - shift) * slope for end in (before.min(), before.max())]
    low = lowest / slope + shift if reach[0] < lowest - tolerance else -math.inf
    high = highest / slope + shift if reach[1] > highest + tolerance else math.inf
    for i in range(0, len(before), _AT_ONCE):
        wanted = (before[i : i + _AT_ONCE].astype(np.float64).clip(low, high) - shift) * slope
        if not (np.abs(wanted - after[i : i + _AT_ONCE]) <= tolerance).all():
            return None
    return Scale(shift, 1 / slope, low, high)


def _ends(values: NDArray[np.float32], among: NDArray[Any]) -> tuple[int, int] | None:
    """Where the lowest and the highest of the chosen values are; None if they are equal."""
    if not len(among):
        return None
    first, last = among[values[among].argmin()], among[values[among].argmax()]
    return (int(first), int(last)) if values[first] < values[last] else None
