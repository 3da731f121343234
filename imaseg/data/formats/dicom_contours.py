"""Closed contours of a structure in an RTSTRUCT, filled on the grid of an image."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from imaseg.data.formats.itk import LPS_TO_RAS
from imaseg.data.formats.scan import Scan
from imaseg.errors import InputError

_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
_FLAT = 0.25
"""Largest extent of a contour across slices, as a share of their distance; it lies across slices beyond that."""
_SAME_PLANE = 0.1
"""Planes this close, as a share of the distance of slices, are one."""
_SAME_CONTOUR = 0.5
"""Contours nowhere farther apart, in pixels, are one given twice: the grid cannot hold what lies between them."""
_MOSTLY = 0.9
"""Share of a contour's pixels that lie in a larger one if it is a hole or an island of that, and not beside it."""
_POINTS = 10_000
"""Points that a contour may have: comparing two takes the product of theirs in time."""
_CONTOURS = 500
"""Contours that a slice may have: each is compared with the others."""
_AT_ONCE = 1 << 20
"""Distances that are held in memory at a time."""
_SHORT = 2
"""More slices in a row without contour are a gap between separate parts."""


@dataclass
class _Contour:
    points: NDArray[np.float64]
    """(n, 2), in pixels."""
    plane: float
    """Number of the slice, between slices no whole number."""
    xor: bool
    shape: tuple[int, ...]

    @cached_property
    def inside(self) -> NDArray[np.bool_]:
        """Its pixels; made late and given up with the slice, since a file may hold very many contours."""
        from skimage.draw import polygon

        pixels = np.zeros(self.shape, bool)
        pixels[polygon(self.points[:, 0], self.points[:, 1], self.shape)] = True
        return pixels


def fill_contours(path: Path, name: str, roi: Any, image: Scan) -> tuple[NDArray[np.bool_], list[str]]:
    """Mask of a structure on the grid of `image`, and in words what of its contours was not plain.

    Contours inside others are holes, those inside holes are islands; contours that cross are joined (of the kind
    `CLOSEDPLANAR_XOR`: what an odd number of them covers). A slice takes the contours of the nearest plane.

    Args:
        path: of the file, for errors.
        name: of the structure, for errors.
        roi: item of the file's ROIContourSequence.
        image: the series that it was drawn on.

    Raises:
        InputError: if a contour runs across slices, or if they are absurdly many.
    """
    notes: Counter[str] = Counter()
    mask = np.zeros(image.data.shape[:3], bool)
    by_slice: dict[int, list[list[_Contour]]] = {}
    for plane in _planes(_closed(path, name, roi, image, notes)):
        nearest = int(np.floor(plane[0].plane + 0.5))
        if 0 <= nearest < image.data.shape[2]:
            by_slice.setdefault(nearest, []).append(plane)
        else:
            notes["contours above or below the image, left out"] += len(plane)
    numbers = sorted(by_slice)
    for number in numbers:
        planes = by_slice.pop(number)
        nearest_plane, *others = sorted(planes, key=lambda plane: abs(plane[0].plane - number))
        notes["contours between slices, left out since others are nearer"] += sum(map(len, others))
        if abs(nearest_plane[0].plane - number) > _SAME_PLANE:
            notes["contours between slices, moved to the nearest"] += len(nearest_plane)
        if len(nearest_plane) > _CONTOURS:
            _refuse_many(path, name, f"{_CONTOURS} contours in a slice at most", len(nearest_plane))
        mask[:, :, number] = _filled(nearest_plane, notes)
    notes["slices without contour between others"] += _skipped(numbers)
    return mask, [f"{what} ({n})" for what, n in notes.items() if n]


def _closed(path: Path, name: str, roi: Any, image: Scan, notes: Counter[str]) -> list[_Contour]:
    to_index = np.linalg.inv(image.affine) @ LPS_TO_RAS
    shape = image.data.shape[:2]
    contours = []
    for item in roi.get("ContourSequence") or []:
        points = np.asarray(item.ContourData, float).reshape(-1, 3)
        if len(points) > _POINTS:
            _refuse_many(path, name, f"contours of {_POINTS} points at most", len(points))
        if item.ContourGeometricType not in _CLOSED or len(points) < 3:
            notes["points or open lines, left out"] += 1
            continue
        index = points @ to_index[:3, :3].T + to_index[:3, 3]
        if np.ptp(index[:, 2]) > _FLAT:
            msg = f"{path} must hold contours in the slices of its image, got one across slices for {name!r}."
            raise InputError(msg)
        if (index[:, :2] < -0.5).any() or (index[:, :2] > np.asarray(shape) - 0.5).any():
            notes["contours that leave the image, cut at its edge"] += 1
        xor = item.ContourGeometricType == "CLOSEDPLANAR_XOR"
        contours.append(_Contour(index[:, :2], float(index[:, 2].mean()), xor, shape))
    return contours


def _refuse_many(path: Path, name: str, wanted: str, got: int) -> NoReturn:
    msg = f"{path} must hold {wanted}, got {got} for {name!r}. Export it as DICOM SEG."
    raise InputError(msg)


def _planes(contours: list[_Contour]) -> list[list[_Contour]]:
    planes: list[list[_Contour]] = []
    for contour in sorted(contours, key=lambda contour: contour.plane):
        if planes and contour.plane - planes[-1][0].plane <= _SAME_PLANE:
            planes[-1].append(contour)
        else:
            planes.append([contour])
    return planes


def _filled(contours: list[_Contour], notes: Counter[str]) -> NDArray[np.bool_]:
    """What the contours of one plane enclose."""
    once: list[_Contour] = []
    for contour in contours:
        if any(_same(contour, other) for other in once):
            notes["contours given twice, counted once"] += 1
        else:
            once.append(contour)
    if all(contour.xor for contour in once):
        return np.logical_xor.reduce(np.stack([contour.inside for contour in once]))
    once.sort(key=lambda contour: -np.count_nonzero(contour.inside))
    filled = np.zeros_like(once[0].inside)
    for i, contour in enumerate(once):
        size = np.count_nonzero(contour.inside)
        shared = [np.count_nonzero(contour.inside & larger.inside) for larger in once[:i]]
        notes["contours that cross others"] += any(0 < part < size for part in shared)
        around = sum(part >= _MOSTLY * size for part in shared) if size else 0
        filled = filled & ~contour.inside if around % 2 else filled | contour.inside
    return filled


def _same(a: _Contour, b: _Contour) -> bool:
    if np.array_equal(a.inside, b.inside) and a.inside.any():
        return True
    first, second = (np.stack([contour.points.min(0), contour.points.max(0)]) for contour in (a, b))
    if np.abs(first - second).max() > _SAME_CONTOUR:
        return False
    return max(_farthest(a.points, b.points), _farthest(b.points, a.points)) <= _SAME_CONTOUR


def _farthest(points: NDArray[np.float64], line: NDArray[np.float64]) -> float:
    """Largest distance of `points` (n, 2) from a closed line through the corners `line` (m, 2)."""
    along = np.roll(line, -1, axis=0) - line
    farthest = 0.0
    for part in np.array_split(points, 1 + len(points) * len(line) // _AT_ONCE):
        offset = part[:, None] - line
        share = (offset * along).sum(-1) / np.maximum((along**2).sum(-1), 1e-12)
        beside = offset - share.clip(0, 1)[..., None] * along
        farthest = max(farthest, float((beside**2).sum(-1).min(1).max(initial=0.0)))
    return farthest**0.5


def _skipped(numbers: list[int]) -> int:
    """Slices without contour in short gaps: left out by mistake, or drawn on a coarser grid."""
    gaps = np.diff(numbers) - 1
    return int(gaps[gaps <= _SHORT].sum()) if len(numbers) > 1 else 0
