"""Shares that metrics are, and what they are of nothing."""

from __future__ import annotations


def share(part: float, whole: float, others: float, *, neither: float = 1.0) -> float | None:
    """A part of a whole; of nothing, undefined where there are others, `neither` where there is nothing at all.

    >>> share(1, 4, 2), share(0, 0, 2), share(0, 0, 0)
    (0.25, None, 1.0)
    """
    if whole:
        return float(part / whole)
    return None if others else neither
