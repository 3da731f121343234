"""Finds the parameter that changes the image by a given amount: bracketed secant and bisection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

LADDER = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Change at severities 1 to 5, in standard deviations of the clean image inside its body.

The unit is that of an L2 budget in RMS on a z-scored image, so that both can be compared. A strong attack needs about
0.05, which is invisible; 0.8 nearly doubles the variance and is obvious; each level is twice the one before."""
_TOLERANCE = 0.01
_ROOM = 0.8
"""Levels above this share of the largest reachable change are moved, so that neighbouring severities differ."""
_TRIES = 25
_SAME = 0.1


@dataclass(frozen=True)
class Setting:
    """A calibrated parameter and whether it reaches the wanted change.

    Attributes:
        parameter: parameter of the corruption.
        reached: whether the change is that of the ladder, within 10 %.
    """

    parameter: float
    reached: bool


def calibrate(change: Callable[[float], float], limit: float, *, ladder: Sequence[float] = LADDER) -> list[Setting]:
    """Find rising parameters at which `change` takes the levels of the ladder.

    Args:
        change: function from a parameter, 0 to `limit`, to the change of the image; 0 at 0, and roughly rising.
        limit: largest sensible parameter.
        ladder: rising levels. Those that the limit does not reach are spread between the last one reached and what it
            does reach.
    """
    top = change(limit)
    if top <= 0:
        return [Setting(limit * level / ladder[-1], reached=False) for level in ladder]
    settings, low = [], (0.0, 0.0)
    for done, (level, target) in enumerate(zip(ladder, reachable(ladder, top), strict=True)):
        if low[1] > (1 - _SAME) * target:  # the change goes in steps, and the last one was large
            target = low[1] * (top / low[1]) ** (1 / (len(ladder) - done))
        low = _solve(change, target, low, (limit, top))
        settings.append(Setting(low[0], reached=abs(low[1] / level - 1) <= _SAME))
    return settings


def reachable(ladder: Sequence[float], top: float) -> list[float]:
    """Limit the levels of a ladder to `top`; those above are spread in equal ratios up to `top`.

    >>> reachable((0.1, 0.2, 0.4), 0.5), [round(level, 3) for level in reachable((0.1, 0.2, 0.4), 0.225)]
    ([0.1, 0.2, 0.4], [0.1, 0.15, 0.225])
    """
    if ladder[-1] <= top:
        return list(ladder)
    kept = [level for level in ladder if level <= _ROOM * top]
    missing = len(ladder) - len(kept)
    if not kept:
        return [level * top / ladder[-1] for level in ladder]
    return kept + [float(level) for level in np.geomspace(kept[-1], top, missing + 1)[1:]]


def _solve(
    change: Callable[[float], float], target: float, low: tuple[float, float], high: tuple[float, float]
) -> tuple[float, float]:
    """Find the parameter, above `low`, whose change is nearest to `target`; returns both."""
    best, bottom = high, low[1]
    for attempt in range(_TRIES):
        if abs(best[1] / target - 1) <= _TOLERANCE:
            break
        guess = _secant(low, high, target) if attempt % 2 == 0 else _middle(low[0], high[0])
        tried = guess, change(guess)
        if tried[1] > bottom and abs(np.log(tried[1] / target)) < abs(np.log(best[1] / target)):
            best = tried
        low, high = (low, tried) if tried[1] >= target else (tried, high)
    return best


def _secant(low: tuple[float, float], high: tuple[float, float], target: float) -> float:
    return low[0] + (high[0] - low[0]) * (target - low[1]) / (high[1] - low[1])


def _middle(low: float, high: float) -> float:
    """Geometric middle, since a limit may be far away; one eighth of `high` if `low` is 0."""
    return float(np.sqrt(low * high)) if low > 0 else high / 8
