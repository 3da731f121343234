"""Checks of the files of one case. Each returns a sentence per fault, and an empty list if there is none.

Sentences name files by folder and name only, since reports are read where the data are not.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from imaseg.data.formats.limits import MOST_VALUES
from imaseg.data.formats.scan import Scan

_LOSSY = (".jpg", ".jpeg")
_SMALL = 32
"""Values below are taken for class numbers in a picture."""
_MANY_VALUES = 32
_THRESHOLD_KEY = "label_threshold: 128 into a recipe (--config)"
_FAR = 0.5
"""Largest distance between the corners of two grids at the same place, as a share of the smallest voxel side."""


def check_image(images: list[Scan]) -> list[str]:
    """Faults of the image files of one case, each of which is a channel or holds several."""
    reasons = [reason for scan in images for reason in (*spacing(scan), *finite(scan))]
    if reasons:
        return reasons
    for other in images[1:]:
        reasons += same_shape(other, images[0]) or same_place(other, images[0])
    return reasons + [reason for scan in images for reason in not_constant(scan)]


def check_label(label: Scan, image: Scan, declared: Mapping[int, str] | None = None) -> list[str]:
    """Faults of a label whose axes `on_grid_of` aligned with its image; `declared` are the values it may hold."""
    reasons = [*spacing(label), *finite(label), *one_per_voxel(label), *opaque(label)]
    if reasons:
        return reasons
    reasons = same_shape(label, image) or same_place(label, image)
    reasons += whole_numbers(label) or known_labels(label, declared)
    return reasons + not_empty(label)


def spacing(scan: Scan) -> list[str]:
    """Voxel sizes are finite and above zero, in the header and in the affine."""
    if any(not np.isfinite(size) or size <= 0 for size in scan.pixdim):
        sizes = " x ".join(f"{size:g}" for size in scan.pixdim)
        return [f"{scan.name} must have voxel sizes above 0 mm, got {sizes} in its header."]
    if not np.isfinite(scan.affine).all():
        return [f"{scan.name} must have a finite affine, got {scan.affine[:3].tolist()}."]
    sides = np.linalg.norm(scan.affine[:3, :3], axis=0)
    volume = abs(np.linalg.det(scan.affine[:3, :3]))
    if volume < 1e-3 * np.prod(sides) or not sides.all():
        return [f"{scan.name} must have an affine that spans space, got {scan.affine[:3, :3].tolist()}."]
    return []


def finite(scan: Scan) -> list[str]:
    """No voxel is NaN or infinite."""
    if scan.data.dtype.kind != "f":
        return []
    nan, infinite = int(np.isnan(scan.data).sum()), int(np.isinf(scan.data).sum())
    if nan + infinite:
        return [f"{scan.name} must hold finite numbers, got {nan} NaN and {infinite} infinite voxels."]
    return []


def not_constant(scan: Scan) -> list[str]:
    """Every channel of the image holds more than one value; the transparency of a picture need not."""
    channels = np.moveaxis(scan.data, 3, 0) if scan.data.ndim == 4 else scan.data[None]
    channels = channels[:3] if scan.is_picture else channels
    reasons = []
    for i, channel in enumerate(channels):
        if channel.min() == channel.max():
            where = f"channel {i} of {scan.name}" if len(channels) > 1 else scan.name
            reasons.append(f"{where} must vary, got {channel.flat[0]:g} in every voxel.")
    return reasons


def same_shape(scan: Scan, image: Scan) -> list[str]:
    """The files of one case have as many voxels along each axis."""
    if scan.data.shape[:3] == image.data.shape[:3] and (scan is image or scan.data.ndim <= image.data.ndim):
        return []
    shapes = " and ".join(" x ".join(map(str, s.data.shape)) for s in (scan, image))
    turned = [one.name for one in (scan, image) if one.turned]
    exif = f" {turned[0]} was turned as its EXIF orientation says, the other was not." if len(turned) == 1 else ""
    return [f"{scan.name} must have the shape of {image.name}, got {shapes} voxels.{exif}"]


def same_place(scan: Scan, image: Scan) -> list[str]:
    """The files of one case lie at the same place in the world, to within half a voxel."""
    apart = corner_distance(scan.affine, image.affine, image.data.shape[:3])
    tolerance = _FAR * np.linalg.norm(image.affine[:3, :3], axis=0).min()
    if apart <= tolerance:
        return []
    return [
        f"{scan.name} must lie where {image.name} lies, got affines whose corners are "
        f"{apart:.2f} mm apart (at most {tolerance:.2f} mm)."
    ]


def corner_distance(a: np.ndarray, b: np.ndarray, shape: tuple[int, ...]) -> float:
    """Largest distance in mm between the corners that two affines give a grid of this shape."""
    corners = np.stack(np.meshgrid(*[(0, n - 1) for n in shape], [1], indexing="ij"), -1).reshape(-1, 4)
    with np.errstate(all="ignore"):  # corrupt headers hold numbers whose squares overflow
        apart = np.linalg.norm(corners @ (a - b)[:3].T, axis=1).max()
    return float(apart) if np.isfinite(apart) else float("inf")


def one_per_voxel(label: Scan) -> list[str]:
    """A label holds one number per voxel, not a colour or a mask per structure."""
    if label.data.ndim == 3:
        return []
    n = label.data.shape[3]
    mend = f" If they mark one structure, write {_THRESHOLD_KEY}; else save class numbers." if label.is_picture else ""
    return [f"{label.name} must hold one label number per voxel, got {n} (colours, or masks).{mend}"]


def opaque(label: Scan) -> list[str]:
    """A label is no picture whose transparency varies, since that may be the mask."""
    if not label.see_through:
        return []
    return [f"{label.name} must be opaque, got a transparency that varies. Save the mask without transparency."]


def whole_numbers(label: Scan) -> list[str]:
    """A label holds whole numbers of at least 0; others mean it was interpolated."""
    values = np.unique(label.data)
    wrong = values[(values != np.rint(values)) | (values < 0) | (values > np.iinfo(np.int32).max)]
    if wrong.size == 0 and values.size > MOST_VALUES:  # each costs a pass over all voxels
        mend = "If they number objects, map them to classes first"
        return [f"{label.name} must hold at most {MOST_VALUES} label values, got {values.size}. {mend}."]
    if wrong.size == 0:
        return []
    few = ", ".join(f"{value:g}" for value in wrong[:3])
    shares = values.min() >= 0 and values.max() <= 1
    mend = " If they are probabilities of one structure, write label_threshold: 0.5 into a recipe." if shares else ""
    return [f"{label.name} must hold whole label numbers from 0, got {few} in {_voxels(label, wrong)}.{mend}"]


def class_numbers(label: Scan, mapping: Mapping[int, int] | None = None) -> list[str]:
    """A label that nobody declares holds class numbers, not the grey values of a frayed or smoothed mask.

    In pictures, one value besides 0, values below 32 and evenly spaced ones (0, 85, 170, 255) are class numbers, in
    JPEG files only the first. In volumes, more than 32 values are grey if most of them hardly touch a voxel of their
    own value.

    Args:
        label: whole numbers (X, Y, Z).
        mapping: new label values by old ones, which are known to be class numbers.
    """
    known = [] if mapping is None else list(mapping)
    values = np.setdiff1d(np.unique(label.data), [0])
    unknown = np.setdiff1d(values, known)
    if not label.is_picture:
        grey = len(unknown) > _MANY_VALUES and _frayed(label.data, unknown)
    elif label.path.suffix.lower() in _LOSSY:
        grey = len(values) > 1
    else:
        grey = len(values) > 1 and bool((unknown >= _SMALL).any()) and not _even(values)
    if not grey:
        return []
    shown = values if len(values) <= 4 else (*values[:2], *values[-2:])
    few = ", ".join(f"{value:g}" for value in shown)
    lossy = " of a JPEG file" if label.path.suffix.lower() in _LOSSY else ""
    return [
        f"{label.name} must hold class numbers, got {len(values)} grey values{lossy} besides 0 ({few}). If it marks "
        f"one structure, write {_THRESHOLD_KEY}; if they are classes, name each in labels: or map it in label_map:."
    ]


def known_labels(label: Scan, declared: Mapping[int, str] | None) -> list[str]:
    """A label holds only declared values."""
    if declared is None:
        return []
    values = np.unique(label.data)
    wrong = values[~np.isin(values, list(declared))]
    if wrong.size == 0:
        return []
    allowed = ", ".join(map(str, sorted(declared)))
    few = ", ".join(f"{value:g}" for value in wrong[:3])
    return [f"{label.name} must hold the declared labels {allowed}, got {few} in {_voxels(label, wrong)}."]


def not_empty(label: Scan) -> list[str]:
    """A label marks at least one voxel."""
    if label.data.any():
        return []
    return [f"{label.name} must mark at least one voxel, got background everywhere."]


def header_flags(scan: Scan) -> list[str]:
    """Oddities of a header that do not prevent use, but may make other software place the volume elsewhere."""
    flags = [f"{scan.name}: {flag}." for flag in scan.flags]
    sides = np.linalg.norm(scan.affine[:3, :3], axis=0)[: len(scan.pixdim)]
    if min(scan.pixdim) > 0 and not np.allclose(sides, scan.pixdim, rtol=0.01):
        got = " and ".join(" x ".join(f"{s:.3g}" for s in sizes) for sizes in (scan.pixdim, sides))
        flags.append(f"{scan.name}: header and affine disagree on the voxel size ({got} mm); affine used.")
    if scan.qform is not None:
        apart = corner_distance(scan.qform, scan.affine, scan.data.shape[:3])
        if apart > _FAR * sides.min():
            flags.append(f"{scan.name}: qform and sform lie {apart:.1f} mm apart; sform used.")
    return flags


def label_flags(label: Scan, image: Scan) -> list[str]:
    """Oddities of a label: it leaves no background, or image or label alone was turned by its EXIF orientation."""
    flags = [f"{label.name}: no voxel is background."] if label.data.min() > 0 else []
    if label.turned == image.turned:
        return flags
    turned, other = (label, image) if label.turned else (image, label)
    asked = "was the mask drawn on the upright picture?"
    return [*flags, f"{other.name}: states no EXIF orientation, unlike {turned.name}: {asked}"]


def _even(values: np.ndarray) -> bool:
    """Whether values are multiples of their lowest one, without gaps, such as 85, 170, 255."""
    return bool((values == values[0] * np.arange(1, len(values) + 1)).all())


def _frayed(data: np.ndarray, values: np.ndarray) -> bool:
    """Whether most of the values mostly touch other values, as in the soft edge of a mask."""
    touches = np.zeros(data.shape, bool)
    for axis in range(3):
        first, second = ([slice(None)] * 3 for _ in range(2))
        first[axis], second[axis] = slice(None, -1), slice(1, None)
        same = data[tuple(first)] == data[tuple(second)]
        touches[tuple(first)] |= same
        touches[tuple(second)] |= same
    counts = dict(zip(*np.unique(data, return_counts=True), strict=True))
    touching = dict(zip(*np.unique(data[touches], return_counts=True), strict=True))
    alone = sum(2 * touching.get(value, 0) <= counts[value] for value in values)
    return 2 * alone > len(values)


def _voxels(label: Scan, values: np.ndarray) -> str:
    n = int(np.isin(label.data, values).sum())
    return f"{n} voxel" if n == 1 else f"{n} voxels"
