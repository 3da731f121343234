"""A prediction or an adversarial image written as a file on the native grid of its case."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from imaseg.data.formats.checks import same_place, same_shape
from imaseg.data.formats.nifti import write_nifti
from imaseg.data.formats.read import read_scan
from imaseg.data.formats.scan import on_grid_of
from imaseg.data.inverse.invert import invert_image, invert_label
from imaseg.data.layouts.prepared import checked_preparation
from imaseg.data.plain import read_json
from imaseg.errors import InputError


def invert_file(file: Path, prepared: Path, case: str, out: Path) -> Path:
    """Write a label or image in prepared space as NIfTI on the native grid of its case, in native units.

    Args:
        file: label (whole numbers, also those that software saves as floating point) or image on the grid of the
            prepared case.
        prepared: folder that `imaseg prepare` wrote.
        case: id.
        out: ends in `.nii` or `.nii.gz`.

    Returns:
        `out`.

    Raises:
        InputError: if the case was not prepared there, or `file` lies on another grid.
    """
    record = _record(prepared, case)
    steps = record["steps"]
    affine = np.asarray(record["native_affine"], float)
    scan = read_scan(file, dtype=None)
    like = read_scan(_image_of(prepared, case))
    scan = on_grid_of(scan, like)
    reasons = same_shape(scan, like) or same_place(scan, like)
    if reasons:
        msg = f"{reasons[0]} Only files on the grid of a prepared case go back to where it came from."
        raise InputError(msg)
    if scan.data.dtype.kind in "iub" or _are_classes(scan.data, steps):
        label = invert_label(scan.data.astype(np.int64), steps)
        write_nifti(out, label, affine, dtype=np.min_scalar_type(int(label.max())))
        return out
    channels = np.moveaxis(scan.data, 3, 0) if scan.data.ndim == 4 else scan.data[None]
    write_nifti(out, invert_image(np.ascontiguousarray(channels, np.float32), steps), affine)
    return out


def _record(prepared: Path, case: str) -> dict[str, Any]:
    path = prepared / "prepare.json"
    cases = checked_preparation(read_json(path), path)["cases"]
    record = next((entry for entry in cases if entry["id"] == case), None)
    if record is None or record["status"] != "ok":
        what = "no such case" if record is None else f"a quarantined one ({', '.join(record['reasons'][:1])})"
        msg = f"case must be one that was prepared in {prepared}, got {what}: {case!r}."
        raise InputError(msg)
    return record


def _are_classes(data: np.ndarray, steps: list[dict[str, Any]]) -> bool:
    """Whether floating-point voxels are a label: all are whole, which voxels of a normalised image are not."""
    normalised = any(step["name"] == "normalise" and step["method"] != "none" for step in steps)
    return normalised and bool((data >= 0).all() and (data <= 65535).all() and (data == np.rint(data)).all())


def _image_of(prepared: Path, case: str) -> Path:
    single = prepared / "imagesTr" / f"{case}.nii.gz"
    return single if single.is_file() else prepared / "imagesTr" / f"{case}_0000.nii.gz"
