"""TIFF files as volumes: pages are slices, whose thickness a JSON file beside the TIFF may state, as for nnU-Net.

tifffile reads what it can, because Pillow shows only the first slice of some stacks, reduces colours of 16 bits to 8
and turns pages that are not compressed wrongly; Pillow reads palettes, inverted greys and what JPEG compressed.
"""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import DTypeLike, NDArray
from PIL import Image

from imaseg.data.files import side_files
from imaseg.data.formats.claims import require_packed_room
from imaseg.data.formats.picture import UNREADABLE, pixels_of, scan_of, unreadable
from imaseg.data.formats.quiet import quiet
from imaseg.data.formats.scan import Scan
from imaseg.data.plain import read_json
from imaseg.errors import InputError

_PLAIN = (tifffile.PHOTOMETRIC.MINISBLACK, tifffile.PHOTOMETRIC.RGB)
_ORIENTATION = 274
_MANY = 20_000
"""Pages beyond which a file is refused: looking at them alone takes long."""


def read_tiff(path: Path, dtype: DTypeLike | None, *, label: bool = False, alpha: bool = False) -> Scan:
    """Read a TIFF file whole.

    Args:
        path: file to read.
        dtype: that the pixels are converted to; None keeps theirs.
        label: read the indices of a palette as class numbers, rather than its colours.
        alpha: keep transparency as the last channel, and equal colours.

    Raises:
        InputError: if the file is truncated or no TIFF, if its pages are no stack of slices, or if the file beside it
            states no voxel size.
    """
    flags: list[str] = []
    try:
        with warnings.catch_warnings(), quiet(tifffile.logger()):
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            pages, orientation = _pages(path, flags, label=label)
            if not len(pages):
                msg = "no page"
                raise ValueError(msg)
    except InputError:
        raise
    except (*UNREADABLE, tifffile.TiffFileError) as error:
        raise unreadable(path, error) from error
    spacing = _spacing(path)
    if len(pages) > 1 and spacing is None:
        flags.append("nothing states its voxel size: 1 mm assumed")
    return scan_of(path, pages, dtype, flags, orientation=orientation, alpha=alpha, spacing=spacing or (1.0, 1.0, 1.0))


def _pages(path: Path, flags: list[str], *, label: bool) -> tuple[NDArray[np.generic], int]:
    """Pixels (slices, rows, columns[, samples]), and the orientation that is still to be applied."""
    with tifffile.TiffFile(path) as file:
        first = file.pages[0].aspage()
        _require_room(path, file)
        shape = _stack(path, file, flags)
        tag = first.tags.get(_ORIENTATION)
        orientation = int(tag.value) if tag else 1
        if first.photometric in _PLAIN:
            try:
                return _by_tifffile(file), orientation
            except ValueError as error:
                if "imagecodecs" not in str(error):
                    raise
    with Image.open(path) as picture:
        if getattr(picture, "n_frames", 1) != math.prod(shape):
            msg = f"{path} must be stored in a common way, got slices that are packed. Save it uncompressed."
            raise InputError(msg)
        frames = []
        for place in range(math.prod(shape)):
            picture.seek(place)
            picture.load()  # turns it
            frames.append(pixels_of(picture, flags, label=label))
    return np.stack(frames), 1


def _require_room(path: Path, file: tifffile.TiffFile) -> None:
    """Raise if the pages together claim more pixels than the file can hold, or there are absurdly many."""
    if len(file.pages) > _MANY:
        msg = f"{path} must hold {_MANY} pages at most, got {len(file.pages)}. Save a part of them."
        raise InputError(msg)
    pages = [series.keyframe for series in file.series]
    tiles = [math.prod(page.chunks) * page.dtype.itemsize for page in pages if page.dtype is not None]
    plain = all(page.compression == tifffile.COMPRESSION.NONE and page.bitspersample >= 8 for page in pages)
    require_packed_room(path, max(sum(series.nbytes for series in file.series), *tiles, 0), plain=plain)


def _stack(path: Path, file: tifffile.TiffFile, flags: list[str]) -> tuple[int, ...]:
    """Length of each axis before rows and columns that is longer than 1.

    Raises:
        InputError: if there are several such axes, if it is time, or if pages differ in size.
    """
    series = file.series
    if len({(one.shape, str(one.dtype)) for one in series}) > 1:
        msg = f"{path} must hold pages of one size, got {sorted({one.shape for one in series})}."
        raise InputError(msg)
    axes = series[0].axes
    before = [(axis, side) for axis, side in zip(axes, series[0].shape, strict=True) if axis not in "YXS" and side > 1]
    before += [("I", len(series))] * (len(series) > 1)
    if len(before) > 1 or (before and before[0][0] == "T"):
        got = " and ".join(f"{side} along {axis}" for axis, side in before)
        msg = f"{path} must hold one stack of slices, got {got}. Save each channel and time to a file of its own."
        raise InputError(msg)
    if before and before[0][0] == "C":
        flags.append("what it calls channels is taken for slices")
    return tuple(side for _, side in before)


def _by_tifffile(file: tifffile.TiffFile) -> NDArray[np.generic]:
    arrays = []
    for series in file.series:
        array = np.asarray(series.asarray())
        if "S" in series.axes:
            array = np.moveaxis(array, series.axes.index("S"), -1)
        size = [side for axis, side in zip(series.axes, series.shape, strict=True) if axis in "YX"]
        samples = [array.shape[-1]] if "S" in series.axes else []
        arrays.append(array.reshape(-1, *size, *samples))
    pages = np.concatenate(arrays)
    return pages.astype(np.uint8) if pages.dtype == bool else pages


def _spacing(path: Path) -> tuple[float, float, float] | None:
    """Voxel size (x, y, z) in mm of the JSON file beside it, which lists it as nnU-Net does: slices, rows, columns."""
    for file in side_files(path):
        stated = read_json(file).get("spacing")
        if stated is None:
            continue
        if not isinstance(stated, list) or len(stated) != 3 or not all(_is_size(side) for side in stated):
            msg = f"spacing in {file} must be three numbers above 0 in mm (slices, rows, columns), got {stated!r}."
            raise InputError(msg)
        z, y, x = (float(side) for side in stated)
        return x, y, z
    return None


def _is_size(side: object) -> bool:
    return isinstance(side, int | float) and not isinstance(side, bool) and 0 < side < math.inf
