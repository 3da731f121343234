"""Renumbers and merges label values of a volume."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imaseg.data.volume import Step, Volume


def relabel(volume: Volume, mapping: Mapping[int, int]) -> tuple[Volume, Step]:
    """Renumber the label of a volume; values that get the same number are merged.

    Args:
        volume: volume with or without a label.
        mapping: new value by old one; values not named stay.

    Returns:
        The volume with the new label, and the record of the step.
    """
    step: Step = {"name": "relabel", "map": {str(old): new for old, new in mapping.items()}}
    if volume.label is None:
        return volume, step
    return replace(volume, label=renumbered(volume.label, mapping)), step


def renumbered(label: NDArray[Any], mapping: Mapping[int, int]) -> NDArray[Any]:
    """The label with new values, replaced all at once: {1: 2, 2: 1} swaps them."""
    largest = max(mapping.values(), default=0)
    changed = label.astype(np.promote_types(label.dtype, np.min_scalar_type(largest)))
    for old, new in mapping.items():
        changed[label == old] = new
    return changed
