"""Reads and checks the files of a case and joins them into a `Volume`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from imaseg.data.cases import Case
from imaseg.data.files import SLICER_SUFFIX, SUFFIXES, is_picture
from imaseg.data.formats.checks import check_image, check_label
from imaseg.data.formats.dicom_labels import read_structures
from imaseg.data.formats.masks import read_masks
from imaseg.data.formats.read import read_scan
from imaseg.data.formats.scan import Scan, on_grid_of, whole_if_close
from imaseg.data.formats.slicer import read_slicer
from imaseg.data.volume import Volume
from imaseg.errors import InputError


def read_volume(case: Case, *, threshold: float | None = None, compact: bool = False) -> Volume:
    """Read and check the files of a case; the axes of the label are aligned with those of the image.

    Args:
        case: case of any file format.
        threshold: label values from here on are 1, all others 0; None keeps them.
        compact: keep the label in the smallest whole-number type that holds it.

    Raises:
        InputError: if a file is missing, unreadable or not finite, or its files disagree.
    """
    images = read_images(case)
    label = read_label(case, images[0], threshold=threshold)
    reasons, blamed = check_image(images), case.image[0]
    if label is not None and not reasons:
        reasons, blamed = check_label(label, images[0]), label.path
    if reasons:
        msg = f"{case.id}: {reasons[0]} Correct or remove {blamed}."
        raise InputError(msg)
    return to_volume(case.id, images, label, compact=compact)


def read_images(case: Case) -> list[Scan]:
    """Scans of the image files of a case; in a cohort of colour pictures a grey one is repeated to three channels.

    Raises:
        InputError: if a file is missing or unreadable.
    """
    if case.fault:
        raise InputError(case.fault)
    alpha = case.channels == 4 and len(case.image) == 1
    images = [read_scan(path, alpha=alpha) for path in case.image]
    if len(images) == 1 and case.channels == 3 and is_picture(case.image[0]) and images[0].data.ndim == 3:
        images[0].data = np.repeat(images[0].data[..., None], 3, axis=3)
    return images


def read_label(case: Case, image: Scan, *, threshold: float | None = None) -> Scan | None:
    """Label of a case with the axes of its image; None if the case has no label.

    Raises:
        InputError: if a file is missing or unreadable.
    """
    if case.label is None:
        return None
    if case.segments and case.label.name.lower().endswith(SLICER_SUFFIX):
        return read_slicer((case.label, *case.more_labels), image, case.segments)
    if case.segments and case.label.name.lower().endswith(SUFFIXES):
        return read_masks((case.label, *case.more_labels), image, case.segments)
    if case.segments:
        return read_structures((case.label, *case.more_labels), image, case.segments)
    label = read_scan(case.label, dtype=None, label=True)
    label = replace(label, data=whole_if_close(label.data))
    if threshold is not None:
        grey = np.asarray(label.data, np.float32)
        grey = grey.mean(axis=3) if grey.ndim == 4 else grey
        label = replace(label, data=(grey >= threshold).astype(np.uint8))
    return on_grid_of(label, image)


def to_volume(name: str, images: list[Scan], label: Scan | None, *, compact: bool = False) -> Volume:
    """Join checked scans into a volume; the label is int64 or, if `compact`, the smallest type that fits."""
    channels = [np.moveaxis(scan.data, 3, 0) if scan.data.ndim == 4 else scan.data[None] for scan in images]
    joined = channels[0] if len(channels) == 1 else np.concatenate(channels)
    image = joined.astype(np.float32, copy=False)
    if label is None:
        return Volume(name, image, None, images[0].affine)
    dtype = np.min_scalar_type(int(label.data.max())) if compact else np.int64
    return Volume(name, image, label.data.astype(dtype, copy=False), images[0].affine)
