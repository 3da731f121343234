"""Resampling of a volume to another voxel size around the same centre."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from imaseg.data.preparation.axes import along_axes, axis_weights
from imaseg.data.preparation.room import require_grid
from imaseg.data.volume import Step, Volume

_THICK = 3.0
"""A voxel side this many times the shortest side counts as thick (anisotropic slices)."""
_AROUND = 5
_VOXELS = 2**24
"""Voxels that are made at a time."""
_CONTESTED = 0.5
"""To keep volumes, voxels are reassigned only where the shares of two structures differ by at most this."""


def resample(
    volume: Volume,
    spacing: tuple[float, ...],
    *,
    image_order: int = 1,
    label_order: int = 1,
    thick_order: int | None = None,
) -> tuple[Volume, Step]:
    """Resample to a voxel size in mm around the same centre.

    Args:
        volume: volume to resample.
        spacing: in mm along its axes.
        image_order: 0 nearest voxel, 1 linear, 3 cubic spline.
        label_order: 0 nearest voxel, 1 the label with the largest interpolated share, volumes kept.
        thick_order: order along an axis whose voxels are three times as long as the shortest side, in image and
            label; None as along the others.

    Raises:
        InputError: if that makes too many voxels of it.
    """
    with np.errstate(all="ignore"):
        ratio = np.asarray(spacing) / np.asarray(volume.spacing)
    if np.allclose(ratio, 1, rtol=1e-3):
        ratio = np.ones(3)
    shape = require_grid(volume.id, volume.shape, ratio, len(volume.image))
    start = (np.asarray(volume.shape) - 1 - (np.asarray(shape) - 1) * ratio) / 2
    thick = _thick(volume.spacing) if thick_order is not None else (False, False, False)
    orders, label_orders = (
        [thick_order if flat and thick_order is not None else order for flat in thick]
        for order in (image_order, label_order)
    )
    step = {
        "name": "resample",
        "spacing_from": list(volume.spacing),
        "spacing_to": [float(size) for size in np.asarray(volume.spacing) * ratio],
        "shape_from": list(volume.shape),
        "shape_to": list(shape),
        "orders": orders,
        "label_orders": label_orders,
    }
    if (ratio == 1).all():
        return volume, step
    to_old = np.diag([*ratio, 1.0])
    to_old[:3, 3] = start
    label = None
    if volume.label is not None:  # first, while no new image takes up memory
        fill = float(np.prod(ratio))
        label = sample_labels(volume.label, shape, start, ratio, label_orders, keep=None if label_order == 0 else fill)
    image = np.empty((len(volume.image), *reversed(shape)), np.float32).transpose(0, 3, 2, 1)  # as in ITK and in files
    for channel, done in zip(volume.image, image, strict=True):
        _sample_into(done, channel, start, ratio, orders)
    moved = replace(
        volume,
        image=image,
        label=label,
        affine=volume.affine @ to_old,
    )
    return moved, step


def _thick(spacing: tuple[float, ...]) -> tuple[bool, ...]:
    return tuple(size >= _THICK * min(spacing) for size in spacing)


def _sample_into(
    done: NDArray[np.float32],
    array: NDArray[Any],
    start: NDArray[np.float64],
    ratio: NDArray[np.float64],
    orders: Sequence[int],
) -> None:
    """Fill `done` with `array` interpolated around the same centre, with an order per axis."""
    for part in _parts(array.shape, done.shape, start, ratio, orders):
        done[..., part.new] = part.sampled(array[..., part.old])


class _Part(NamedTuple):
    """Some planes across the last axis, so that no second volume of floats takes up memory.

    Attributes:
        new: planes that are made.
        old: planes that they need.
        shape, start, ratio: as in `resample`, of these planes.
        matrices: along each axis; None where all orders are linear, which ITK does.
    """

    new: slice
    old: slice
    shape: tuple[int, ...]
    start: NDArray[np.float64]
    ratio: NDArray[np.float64]
    matrices: Sequence[Any] | None

    def sampled(self, planes: NDArray[Any]) -> NDArray[np.float32]:
        """The new planes of the old ones."""
        if self.matrices is None:
            return _linear(planes, self.shape, self.start, self.ratio)
        return along_axes(self.matrices, np.asarray(planes, np.float32))


def _parts(
    before: tuple[int, ...],
    shape: tuple[int, ...],
    start: NDArray[np.float64],
    ratio: NDArray[np.float64],
    orders: Sequence[int],
) -> Iterator[_Part]:
    """Cut the work into parts, each with all old planes that its new ones are made of."""
    linear = all(order == 1 for order in orders)
    matrices = [axis_weights(*axis) for axis in zip(before, shape, ratio, orders, start, strict=True)]
    along = matrices[-1]
    planes = max(1, _VOXELS // (shape[0] * shape[1]))
    for first in range(0, shape[-1], planes):
        new = slice(first, min(first + planes, shape[-1]))
        rows = along[new]
        # What has no weight is left out, but for ITK, which wants both neighbours.
        low, high = int(rows.indices.min()) - linear, int(rows.indices.max()) + 1 + linear
        old = slice(max(0, low), min(high, before[-1]))
        begin = start.astype(np.float64)
        begin[-1] += first * ratio[-1] - old.start
        here = None if linear else [*matrices[:-1], rows[:, old]]
        yield _Part(new, old, (*shape[:-1], new.stop - first), begin, ratio, here)


def sample_grid(
    array: NDArray[Any],
    shape: tuple[int, ...],
    ratio: NDArray[np.float64],
    orders: Sequence[int],
    start: NDArray[np.float64] | None = None,
) -> NDArray[Any]:
    """Values of `array` on another grid.

    Args:
        array: (X, Y, Z); whole numbers are labels, of which the largest share wins.
        shape: of the result.
        ratio: its voxel size in voxels of `array`.
        orders: of the interpolation of other values along each axis.
        start: position of the first voxel of the result, in voxels of `array`; None keeps the centre where it is.
    """
    start = start if start is not None else (np.asarray(array.shape) - 1 - (np.asarray(shape) - 1) * ratio) / 2
    if array.dtype.kind in "iu":
        return sample_labels(array, shape, start, ratio)
    done = np.empty(shape, np.float32)
    _sample_into(done, array, start, ratio, orders)
    return done.astype(array.dtype, copy=False)


def sample_labels(
    label: NDArray[Any],
    shape: tuple[int, ...],
    start: NDArray[np.float64],
    ratio: NDArray[np.float64],
    orders: Sequence[int] = (1, 1, 1),
    *,
    keep: float | None = None,
) -> NDArray[Any]:
    """At each point the label whose interpolated share is largest.

    Nearest-neighbour interpolation would skip or double whole slices: at a ratio of 1.03 a structure of six slices can
    lose a sixth of its volume.

    Args:
        label: whole numbers (X, Y, Z).
        shape: shape of the result.
        start: position of the first voxel of the result, in voxels of `label`.
        ratio: its voxel size, in the same.
        orders: order of the interpolation of shares along each axis.
        keep: old voxels per new one, to keep the volumes of structures; None leaves them to the shares.
    """
    values, counts = np.unique(label, return_counts=True)
    margin = np.empty(shape, np.float32, order="F")  # of a CT near a gigabyte
    winner, runner = (np.zeros(shape, label.dtype, order="F") for _ in range(2))
    for part in _parts(label.shape, shape, start, ratio, orders):
        best = _largest_shares(label[..., part.old], part)
        winner[..., part.new], runner[..., part.new], margin[..., part.new] = best
    if keep is not None:
        whole = [(int(v), n / keep) for v, n in zip(values, counts, strict=True) if v != 0 and not _at_border(label, v)]
        for value, wanted in [*whole, *whole]:  # twice, since neighbours take voxels from each other
            _keep_volume(winner, runner, margin, value, wanted)
    return winner


def _largest_shares(label: NDArray[Any], part: _Part) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.float32]]:
    """The label with the largest share at each point, that with the second largest, and how far they are apart."""
    best, second = (np.full(part.shape, -1, np.float32, order="F") for _ in range(2))
    winner, runner = (np.zeros(part.shape, label.dtype, order="F") for _ in range(2))
    for value in np.unique(label):
        share = part.sampled((label == value).astype(np.uint8))
        ahead = share > best
        np.copyto(second, best, where=ahead)
        np.copyto(runner, winner, where=ahead)
        np.copyto(best, share, where=ahead)
        np.copyto(winner, value, where=ahead)
        next_best = ~ahead & (share > second)
        np.copyto(second, share, where=next_best)
        np.copyto(runner, value, where=next_best)
    return winner, runner, best - second


def _at_border(label: NDArray[Any], value: int) -> bool:
    """Whether a structure touches the border of the volume, so that its true volume is unknown."""
    faces = (np.take(label, end, axis=axis) for axis in range(3) for end in (0, -1))
    return any(bool((face == value).any()) for face in faces)


def _keep_volume(
    winner: NDArray[Any], runner: NDArray[Any], margin: NDArray[np.float32], value: int, wanted: float
) -> None:
    """Add voxels to a structure, or remove some, until it has the wanted number, in place.

    Needed because interpolated shares shrink convex structures, by a percent or two, small ones by more. Voxels where
    the two largest shares are closest are reassigned first; among equals, those with more (for removal, less) of the
    structure around them. Voxels equal in both are reassigned together, so that flat faces stay flat.
    """
    own = winner == value
    missing = wanted - np.count_nonzero(own)
    contested = ((runner == value) if missing > 0 else own) & (margin <= _CONTESTED)
    at = np.nonzero(contested.T)[::-1]  # in the order of memory
    if not at[0].size:
        return
    box = tuple(slice(max(0, int(i.min()) - 2), int(i.max()) + 3) for i in at)
    around = uniform_filter(own[box].astype(np.float32), _AROUND, mode="constant")
    density = around[tuple(i - part.start for i, part in zip(at, box, strict=True))]
    rank = np.rint(margin[at].astype(np.float64) * 1e4) * 1e4 + np.rint((1 - density if missing > 0 else density) * 1e3)
    ranks, sizes = np.unique(rank, return_counts=True)
    groups = int(np.abs(np.cumsum(np.r_[0, sizes]) - abs(missing)).argmin())
    if groups == 0:
        return
    moved = tuple(i[rank <= ranks[groups - 1]] for i in at)
    winner[moved], runner[moved] = runner[moved], winner[moved]


def _linear(
    array: NDArray[Any], shape: tuple[int, ...], start: NDArray[np.float64], ratio: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Linear interpolation by ITK in index space, without affines, whose conventions differ between ITK and NIfTI."""
    import SimpleITK

    if array.dtype != np.uint8:  # a mask is a quarter of the size until ITK has it
        array = np.asarray(array, np.float32)
    source = SimpleITK.GetImageFromArray(array.T)
    if array.dtype == np.uint8:
        source = SimpleITK.Cast(source, SimpleITK.sitkFloat32)
    del array
    resampler = SimpleITK.ResampleImageFilter()
    resampler.SetSize([int(n) for n in shape])
    resampler.SetOutputOrigin([float(v) for v in start])
    resampler.SetOutputSpacing([float(v) for v in ratio])
    resampler.SetInterpolator(SimpleITK.sitkLinear)
    resampler.UseNearestNeighborExtrapolatorOn()
    done = resampler.Execute(source)
    del source
    return np.asarray(SimpleITK.GetArrayFromImage(done).T)
