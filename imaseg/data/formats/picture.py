"""2D pictures (PNG, TIFF, JPEG, BMP) by Pillow, as volumes of one slice.

Pictures have no physical size: a pixel counts as 1 mm, also in later steps and records.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike, NDArray
from PIL import Image, UnidentifiedImageError

from imaseg.data.formats.scan import Scan, as_volume
from imaseg.errors import InputError

PICTURE_AFFINE = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Affine under which viewers show a picture upright: columns run to the left, rows to the back."""
_UNREADABLE = (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError, EOFError)


def read_picture(path: Path, dtype: DTypeLike | None) -> Scan:
    """Read a picture; pages of a TIFF are slices, colours are channels, a grey picture has one.

    Raises:
        InputError: if the file is truncated or no picture.
    """
    flags: list[str] = []
    try:
        with warnings.catch_warnings():
            # Twice the size that is warned of is refused, which is what the warning is for.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            pages = _pages(path, flags)
    except _UNREADABLE as error:
        what = " ".join(str(error).split()) or type(error).__name__
        msg = f"{path} must be a complete picture, got an unreadable one ({what}). Copy it again."
        raise InputError(msg) from error
    if len({page.shape for page in pages}) > 1:
        msg = f"{path} must hold pages of one size, got {sorted({page.shape for page in pages})}."
        raise InputError(msg)
    data = as_volume(path, np.moveaxis(np.stack(pages), 0, 2).swapaxes(0, 1))
    data = data.astype(dtype or data.dtype.newbyteorder("="), copy=False)
    return Scan(path, data, PICTURE_AFFINE.copy(), (1.0, 1.0, 1.0), flags=list(dict.fromkeys(flags)))


def _pages(path: Path, flags: list[str]) -> list[NDArray[np.generic]]:
    pages = []
    with Image.open(path) as picture:
        for page in range(getattr(picture, "n_frames", 1)):
            picture.seek(page)
            pages.append(_pixels(picture, flags))
    return pages


def _pixels(picture: Image.Image, flags: list[str]) -> NDArray[np.generic]:
    """One page: (rows, columns) or (rows, columns, 3)."""
    if picture.mode in ("RGBA", "LA", "PA"):
        flags.append("its transparency is left out")
    if picture.mode == "P" and "transparency" not in picture.info:
        # Indices of a palette are class numbers in a mask; in a photo the palette decides.
        return np.asarray(picture) if _is_mask(picture) else _one_if_grey(np.asarray(picture.convert("RGB")))
    if picture.mode == "1":
        return np.asarray(picture).astype(np.uint8)
    wanted = {"P": "RGB", "PA": "RGB", "RGBA": "RGB", "LA": "L", "CMYK": "RGB", "YCbCr": "RGB", "HSV": "RGB"}
    pixels = np.asarray(picture.convert(wanted[picture.mode]) if picture.mode in wanted else picture)
    return _one_if_grey(pixels)


def _one_if_grey(pixels: NDArray[np.generic]) -> NDArray[np.generic]:
    if pixels.ndim == 3 and (pixels[..., 1:] == pixels[..., :1]).all():
        return pixels[..., 0]
    return pixels


def _is_mask(picture: Image.Image) -> bool:
    """Whether a palette picture uses at most 32 colours, so that its indices are taken for class numbers."""
    return len(np.unique(np.asarray(picture))) <= 32
