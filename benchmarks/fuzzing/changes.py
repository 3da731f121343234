"""Damages one file: its bytes as they are, or what they mean."""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path

from fuzzing.archives import records_changed, safetensors_changed, state_changed
from fuzzing.documents import json_changed, lines_changed, yaml_changed
from fuzzing.headers import dicom_changed, gzip_changed, nifti_changed, png_changed, tiff_changed
from fuzzing.raw_bytes import damaged

_STATE = (state_changed, state_changed, records_changed)
_STRUCTURE = {
    ".json": (json_changed,), ".yaml": (yaml_changed,), ".csv": (partial(lines_changed, end=b"\0"),),
    ".nii": (nifti_changed,), ".hdr": (nifti_changed,), ".gz": (gzip_changed,), ".png": (png_changed,),
    ".tif": (tiff_changed,), ".dcm": (dicom_changed,), ".ppm": (partial(lines_changed, end=b"255"),),
    ".pt": _STATE, ".pth": _STATE, ".npz": (records_changed,), ".safetensors": (safetensors_changed,),
    ".nrrd": (partial(lines_changed, end=b"\n\n"),), ".nhdr": (partial(lines_changed, end=b"\n\n"),),
    ".mha": (partial(lines_changed, end=b"LOCAL"),), ".mhd": (partial(lines_changed, end=b"\0"),),
}  # fmt: skip


def damage(rng: random.Random, path: Path) -> tuple[str, str]:
    """Damage a file where it lies.

    Returns:
        "structure" or "bytes", and what was done.
    """
    content = path.read_bytes()
    ways = _STRUCTURE.get(path.suffix)
    if ways and rng.random() < 0.65:
        try:
            changed, told = rng.choice(ways)(rng, content)
        except Exception:  # what the writer of the format refuses to write
            changed, told = content, ""
        if told:
            path.write_bytes(changed)
            return "structure", told
    changed, told = damaged(rng, content)
    path.write_bytes(changed)
    return "bytes", told
