"""Whether training cases are held in memory or read for each batch: by what they take up and what is free."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence

import nibabel as nib

from imaseg.data import Case
from imaseg.models.free_memory import free_bytes
from imaseg.ranks import world

_FLOAT = 4
"""Bytes of a voxel of image or label once read; what marks padding takes one more."""


def held(cases: Iterable[Case], patch: Sequence[int], share: float) -> tuple[bool, str]:
    """Whether cases fit into a share of the free memory, and a sentence that says so.

    Args:
        cases: prepared cases.
        patch: side lengths that smaller cases are padded to.
        share: of the free memory that they may take up; 0 holds none, 1 all that fit.
    """
    here = int(os.environ.get("LOCAL_WORLD_SIZE", world()))
    needed, free = here * sum(bytes_of(case, patch) for case in cases), free_bytes()
    if free is None:
        return share > 0, f"Cases are {'held in memory' if share else 'read for each batch'}: {_size(needed)}."
    fits = needed <= share * free
    told = f"{_size(needed)} are {'at most' if fits else 'more than'} {share:g} of {_size(free)} that are free"
    return fits, f"Cases are {'held in memory' if fits else 'read for each batch'}: {told} (`cache`)."


def bytes_of(case: Case, patch: Sequence[int]) -> int:
    """What a case takes up once it is read and padded, by the header of its image."""
    shape = nib.nifti1.load(case.image[0]).shape[:3]
    voxels = math.prod(max(side, least) for side, least in zip(shape, patch, strict=True))
    return voxels * (_FLOAT * (len(case.image) + 1) + 1)


def _size(number: int) -> str:
    """Bytes in words.

    >>> _size(12_345_678), _size(34_500_000_000)
    ('12.3 MB', '34.5 GB')
    """
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number / 1e6:.1f} MB"
