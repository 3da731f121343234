"""Segmentations of 3D Slicer (`.seg.nrrd`): segments by name, perhaps in layers that overlap, cut to their extent."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from imaseg.data.formats.itk import read_itk
from imaseg.data.formats.itk_header import nrrd_pairs
from imaseg.data.formats.names import chosen_structures, first_spellings
from imaseg.data.formats.scan import Scan
from imaseg.data.formats.structures import join_structures, placed
from imaseg.errors import InputError


@dataclass(frozen=True)
class Segment:
    """A segment: its voxels have `value` in `layer`; its name may be that of other files."""

    name: str
    value: int
    layer: int
    named: bool = True


def slicer_segments(path: Path) -> list[Segment]:
    """Segments that the header of a file names, in its order; none if it is unreadable or names none."""
    try:
        entries = {key: text.strip() for key, text in nrrd_pairs(path).items()}
    except InputError:
        return []
    numbers = sorted(int(match[1]) for key in entries if (match := re.fullmatch(r"Segment(\d+)_Name", key)))
    found = []
    for n in numbers:
        value, layer = entries.get(f"Segment{n}_LabelValue", ""), entries.get(f"Segment{n}_Layer", "0")
        if value.isdecimal() and layer.isdecimal():
            found.append(Segment(entries[f"Segment{n}_Name"], int(value), int(layer)))
    return found


def read_slicer(paths: tuple[Path, ...], image: Scan, values: Mapping[str, int]) -> Scan:
    """Join the segments of a file on the grid of `image`.

    Args:
        paths: of the file.
        image: that it was drawn on.
        values: label value by name of a segment; others are left out. Several spellings may have one value.

    Raises:
        InputError: if the file is unreadable, lies on another grid, or has names that differ by case or blanks only.
    """
    return join_structures(paths, image, values, _masks)


def _masks(
    path: Path, image: Scan, values: Mapping[str, int]
) -> Iterator[tuple[str, int, NDArray[np.bool_], list[str]]]:
    scan = read_itk(path, None)
    layers = scan.data[..., None] if scan.data.ndim == 3 else scan.data
    segments = slicer_segments(path) or _unnamed(path, layers, values)
    wanted = chosen_structures(path, [segment.name for segment in segments], values)
    for segment in (segment for segment in segments if segment.name in wanted):
        if segment.layer >= layers.shape[3]:
            msg = f"{path} must hold layer {segment.layer} of {segment.name!r}, got {layers.shape[3]} layers."
            raise InputError(msg)
        part = replace(scan, data=layers[..., segment.layer] == segment.value)
        mask = placed(part, image)
        outside = int(part.data.sum() - mask.sum())
        notes = [f"{outside} voxels outside the image, left out"] if outside else []
        notes += [] if segment.named else [f"label {segment.value} of a file without names, taken by its number"]
        yield segment.name, wanted[segment.name], mask, notes


def _unnamed(path: Path, layers: NDArray[np.generic], values: Mapping[str, int]) -> list[Segment]:
    """The labels of a file without names, by the names that their numbers have elsewhere."""
    names = first_spellings(values)
    numbers = [int(value) for value in np.unique(layers) if value > 0]
    if layers.shape[3] > 1 or not {*numbers} <= {*names}:
        msg = f"{path} must name its segments, got labels {numbers} without names. Name them in 3D Slicer."
        raise InputError(msg)
    return [Segment(names[number], number, 0, named=False) for number in numbers]
