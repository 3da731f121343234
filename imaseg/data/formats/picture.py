"""2D pictures (PNG, JPEG, BMP, GIF, PPM) by Pillow, as volumes of one slice.

Pictures have no physical size: a pixel counts as 1 mm, also in later steps and records. They are turned as their EXIF
orientation says, images and masks alike, which is how viewers show them.
"""

from __future__ import annotations

import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike, NDArray
from PIL import Image, UnidentifiedImageError

from imaseg.data.formats.claims import require_packed_room
from imaseg.data.formats.scan import Scan, as_volume
from imaseg.errors import InputError

PICTURE_AFFINE = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Affine under which viewers show a picture upright: columns run to the left, rows to the back."""
UNREADABLE = (
    UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError, EOFError, struct.error,
    zlib.error, KeyError, IndexError, TypeError, AttributeError, ArithmeticError, AssertionError,
    MemoryError, RuntimeError,
)  # fmt: skip
"""What Pillow and tifffile raise for files that are damaged."""
_AS_RGB = ("P", "PA", "CMYK", "YCbCr", "HSV", "LAB", "RGBa", "RGBX")
_EXIF_ORIENTATION = 0x0112


def read_picture(path: Path, dtype: DTypeLike | None, *, label: bool = False, alpha: bool = False) -> Scan:
    """Read a picture of one frame; colours are channels, a grey picture has one.

    Args:
        path: file to read.
        dtype: that the pixels are converted to; None keeps theirs.
        label: read the indices of a palette as class numbers, rather than its colours.
        alpha: keep transparency as the fourth channel, and three equal colours.

    Raises:
        InputError: if the file is truncated, no picture, or an animation.
    """
    flags: list[str] = []
    try:
        with warnings.catch_warnings():
            # Twice the size that is warned of is refused, which is what the warning is for.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                require_packed_room(path, picture.width * picture.height * len(picture.getbands()))
                _refuse_animation(path, picture, flags)
                code = picture.getexif().get(_EXIF_ORIENTATION, 1)
                pixels = pixels_of(picture, flags, label=label)
    except InputError:
        raise
    except UNREADABLE as error:
        raise unreadable(path, error) from error
    return scan_of(path, pixels[None], dtype, flags, orientation=code, alpha=alpha)


def unreadable(path: Path, error: Exception) -> InputError:
    """The error of a damaged file, with what its reader says."""
    what = " ".join(str(error).split()) or type(error).__name__
    return InputError(f"{path} must be a complete picture, got an unreadable one ({what}). Copy it again.")


def scan_of(
    path: Path,
    pages: NDArray[np.generic],
    dtype: DTypeLike | None,
    flags: list[str],
    *,
    orientation: int = 1,
    alpha: bool = False,
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> Scan:
    """A scan of pages (slices, rows, columns[, samples]).

    Args:
        path: file they were read from.
        pages: their pixels as stored.
        dtype: that the pixels are converted to; None keeps theirs.
        flags: what is unusual about the file.
        orientation: code of the EXIF orientation.
        alpha: keep transparency as the last channel, and equal colours.
        spacing: voxel size in mm along columns, rows, slices.
    """
    upright = np.stack([_upright(page, orientation) for page in pages])
    if orientation in range(2, 9):
        flags = [*flags, f"turned as its EXIF orientation ({orientation}) says"]
    varies = upright.ndim == 4 and upright.shape[3] in (2, 4) and bool((upright[..., -1] != upright.flat[-1]).any())
    if upright.ndim == 4 and not alpha:
        if upright.shape[3] in (2, 4):
            flags = [*flags, "its transparency is left out"]
            upright = upright[..., :-1]
        upright = upright[..., 0] if (upright == upright[..., :1]).all() else upright
    data = as_volume(path, np.moveaxis(upright, 0, 2).swapaxes(0, 1))
    data = data.astype(dtype or data.dtype.newbyteorder("="), copy=False)
    affine = PICTURE_AFFINE @ np.diag([*spacing, 1.0])
    return Scan(path, data, affine, spacing, flags=flags, turned=orientation in range(2, 9), see_through=varies)


def _upright(page: NDArray[np.generic], code: int) -> NDArray[np.generic]:
    """Rows and columns as viewers show them, by the code of an EXIF orientation."""
    if code in (5, 6, 7, 8):
        page = page.swapaxes(0, 1)
    if code in (3, 4, 7, 8):
        page = page[::-1]
    return page[:, ::-1] if code in (2, 3, 6, 7) else page


def _refuse_animation(path: Path, picture: Image.Image, flags: list[str]) -> None:
    frames = getattr(picture, "n_frames", 1)
    if frames == 1:
        return
    if picture.format == "MPO":  # of phones and stereo cameras: views, depth or previews of the first one
        flags.append(f"the first of the {frames} pictures in its file")
        return
    msg = f"{path} must hold one picture, got an animation of {frames}. Save the picture to use by itself."
    raise InputError(msg)


def pixels_of(picture: Image.Image, flags: list[str], *, label: bool) -> NDArray[np.generic]:
    """Pixels (rows, columns) or (rows, columns, samples) as stored, not turned."""
    if picture.mode == "P" and label:
        return _classes(picture, flags)
    if picture.mode == "1":
        return np.asarray(picture).astype(np.uint8)
    if "16" in str(_stored_as(picture)) and picture.mode in ("RGB", "RGBA"):
        flags.append("its 16-bit colours are read as 8-bit")
    largest = _ppm_maximum(picture)
    transparent = picture.mode == "PA" or (picture.mode == "P" and "transparency" in picture.info)
    wanted = "RGBA" if transparent else "RGB"
    pixels = np.asarray(picture.convert(wanted) if picture.mode in _AS_RGB else picture)
    if largest is None:
        return pixels
    # Pillow stretches the numbers of a PPM to 255 or 65535; class numbers must stay.
    full = 65535 if picture.mode == "I" else 255
    return np.rint(pixels.astype(np.float64) * largest / full).astype(np.uint16 if full > 255 else np.uint8)


def _ppm_maximum(picture: Image.Image) -> int | None:
    arguments = _stored_as(picture) if picture.format == "PPM" else None
    return (
        arguments[1] if isinstance(arguments, tuple) and len(arguments) == 2 and isinstance(arguments[1], int) else None
    )


def _stored_as(picture: Image.Image) -> object:
    """What Pillow tells its decoder of the pixels in the file."""
    tiles = getattr(picture, "tile", None)
    return tiles[0].args if tiles else None


def _classes(picture: Image.Image, flags: list[str]) -> NDArray[np.generic]:
    """Class numbers of a palette picture: its indices, or its greys where there are more than black and another."""
    indices = np.asarray(picture)
    palette = np.zeros((256, 3), np.uint8)
    stated = np.asarray(picture.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
    palette[: len(stated)] = stated
    used = np.unique(indices)
    grey = (palette[used] == palette[used, :1]).all()
    if grey and (len(used) > 2 or palette[0].any()):
        return palette[indices, 0]
    if palette[0].any():
        flags.append(f"class numbers are the indices of its palette, in which 0 has the colour {palette[0].tolist()}")
    return indices
