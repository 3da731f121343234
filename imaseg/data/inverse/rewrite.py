"""Voxels of a NIfTI file changed while its header, scaling and data type stay the same, byte for byte."""

from __future__ import annotations

import gzip
import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from imaseg.data.files import whole_file
from imaseg.errors import InputError


@dataclass(frozen=True)
class Rewritten:
    """How exactly a change could be stored in a file.

    Attributes:
        dtype: data type of the voxels on disk.
        channels: number of channels in the file.
        wanted: voxels where the change is not 0.
        changed: voxels whose stored value changed.
        at_limit: voxels that would have left the range of the data type and were clipped to it.
        error: L2 norm of the error by rounding and clipping, relative to that of the change.
        sha256: of the file.
    """

    dtype: str
    channels: int
    wanted: int
    changed: int
    at_limit: int
    error: float
    sha256: str


def write_changed(source: Path, change: NDArray[np.float64], out: Path) -> Rewritten:
    """Copy a NIfTI file with a change added to its voxels, atomically.

    Args:
        source: a readable `.nii` or `.nii.gz`.
        change: (C, X, Y, Z), in the units that the file's header scales to, of which the file takes as many channels
            as it has. Where it is 0, the stored value stays.
        out: ends in `.nii.gz`.
    """
    proxy: Any = _load(source).dataobj
    content = bytearray(_content(source))
    voxels = slice(proxy.offset, proxy.offset + math.prod(proxy.shape) * proxy.dtype.itemsize)
    before = np.frombuffer(bytes(content[voxels]), proxy.dtype).reshape(proxy.shape, order="F")
    channels = math.prod(proxy.shape) // math.prod(change.shape[1:])
    steps = np.moveaxis(change[:channels], 0, -1).reshape(proxy.shape) / proxy.slope
    wished = before.astype(np.float64) + steps
    after = np.where(steps != 0, _stored(wished, proxy.dtype), before)
    content[voxels] = after.astype(proxy.dtype).tobytes(order="F")
    packed = gzip.compress(bytes(content), compresslevel=1, mtime=0)
    with whole_file(out) as part:
        part.write_bytes(packed)
    length = float(np.linalg.norm(steps))
    lost = np.where(steps != 0, after.astype(np.float64) - wished, 0.0)
    return Rewritten(
        dtype=proxy.dtype.name,
        channels=channels,
        wanted=int((steps != 0).sum()),
        changed=int((after != before).sum()),
        at_limit=_beyond(wished[steps != 0], proxy.dtype),
        error=float(np.linalg.norm(lost)) / length if length else 0.0,
        sha256=hashlib.sha256(packed).hexdigest(),
    )


def write_labels_on(out: Path, label: NDArray[np.integer], source: Path) -> str:
    """Write whole numbers (X, Y, Z) on the grid of a NIfTI image, in the smallest type that holds them.

    Returns:
        SHA-256 of the file.
    """
    like = _load(source)
    header = like.header.copy()
    header.set_data_dtype(np.min_scalar_type(int(label.max())))
    header.set_slope_inter(1, 0)
    header.set_intent("none")
    header["cal_min"] = header["cal_max"] = 0
    image = type(like)(label.reshape(like.shape[:3]), like.affine, header)
    with whole_file(out) as part:
        nib.save(image, part)
    return hashlib.sha256(out.read_bytes()).hexdigest()


def _load(path: Path) -> nib.Nifti1Image:
    image = nib.load(path)
    if not isinstance(image, nib.Nifti1Image):
        msg = f"{path} must be a NIfTI file, got {type(image).__name__}."
        raise InputError(msg)
    return image


def _content(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes()) if path.name.lower().endswith(".gz") else path.read_bytes()


def _stored(values: NDArray[np.float64], dtype: np.dtype) -> NDArray[np.generic]:
    """Values rounded and clipped to the data type of the file."""
    if dtype.kind == "f":
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    return np.rint(values).clip(limits.min, limits.max).astype(dtype)


def _beyond(values: NDArray[np.float64], dtype: np.dtype) -> int:
    if dtype.kind == "f":
        return 0
    limits = np.iinfo(dtype)
    return int(((np.rint(values) < limits.min) | (np.rint(values) > limits.max)).sum())
