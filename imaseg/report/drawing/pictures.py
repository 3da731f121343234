"""A slice as three pictures: clean image, perturbation, attacked image, outlines drawn in.

Pixels keep their size in mm, so a slice of anisotropic voxels is not squeezed. The pictures have few colours, chosen
beforehand, which keeps the page small without dulling the outlines.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageDraw
from skimage.measure import find_contours

from imaseg.report.drawing.slices import Slice

OUTLINES = ("#56B4E9", "#E69F00", "#00C08B", "#F58CC5", "#F0E442", "#FF7F50")
_LONG_SIDE = 420
_SHARPER = 2
_GREY_STEP = 2
_COLD, _NEUTRAL, _WARM = np.array([33, 102, 172]), np.array([247, 247, 247]), np.array([178, 24, 43])
_traced: Callable[[np.ndarray, float], list[np.ndarray]] = find_contours


def pictures(view: Slice) -> tuple[str, str, str]:
    """PNG data-URIs of the clean image, the perturbation and the attacked image.

    Both images share one grey window (1st to 99th percentile of the clean one). Predictions are solid
    outlines, the label is dashed; the colour is the class.
    """
    window = grey_window(view.image)
    clean, attacked = (_enlarged(grey_levels(image, *window), view) for image in (view.image, view.attacked_image))
    outline(clean, view.clean_prediction, view.label)
    outline(attacked, view.attacked_prediction, view.label)
    return data_uri(_few_colours(clean)), data_uri(_diverging(view)), data_uri(_few_colours(attacked))


def grey_window(image: np.ndarray) -> tuple[float, float]:
    """1st and 99th percentile of an image, apart."""
    low, high = (float(end) for end in np.percentile(image, [1, 99]))
    return low, high if high > low else low + 1.0


def grey_levels(image: np.ndarray, low: float, high: float) -> np.ndarray:
    """Pixels (rows, columns, 3) of an image in the window from `low` (black) to `high` (white)."""
    levels = np.clip((image - low) / (high - low), 0, 1) * 255
    return np.repeat(levels.astype(np.uint8)[..., None], 3, axis=2)


def _diverging(view: Slice) -> Image.Image:
    """Blue for what was taken away, near white for no change, red for what was added; voxels stay sharp."""
    share = np.clip(view.perturbation / (view.scale or 1.0), -1, 1)
    steps = np.linspace(-1, 1, 255)[:, None]
    palette = _NEUTRAL + np.abs(steps) * (np.where(steps < 0, _COLD, _WARM) - _NEUTRAL)
    picture = _indexed((127 + 127 * share).round(), palette.round())
    return picture.resize(size_in_mm(view.image.shape, view.spacing, _LONG_SIDE), Image.Resampling.NEAREST)


def size_in_mm(shape: Sequence[int], spacing: Sequence[float], long_side: int) -> tuple[int, int]:
    """Width and height of a picture in proportion to the slice in mm.

    >>> size_in_mm((10, 20), (2.0, 1.0), 40)
    (40, 40)
    """
    rows, columns = (size * mm for size, mm in zip(shape, spacing, strict=True))
    factor = long_side / max(rows, columns)
    return max(1, round(columns * factor)), max(1, round(rows * factor))


def _enlarged(pixels: np.ndarray, view: Slice) -> Image.Image:
    return Image.fromarray(pixels).resize(
        size_in_mm(view.image.shape, view.spacing, _SHARPER * _LONG_SIDE), Image.Resampling.BICUBIC
    )


def outline(picture: Image.Image, prediction: np.ndarray, label: np.ndarray, *, thin: bool = False) -> None:
    """Draw the outlines of two maps of classes: the prediction's solid, the label's dashed and paler.

    Args:
        picture: to draw on.
        prediction: (rows, columns) integer.
        label: likewise.
        thin: lines for a picture that is not made smaller afterwards.
    """
    draw, share = ImageDraw.Draw(picture), 0.4 if thin else 1.0
    for value in [int(v) for v in np.unique(prediction) if v]:
        for line in _contours(prediction == value, picture.size):
            draw.line(line, fill="#000000", width=round(11 * share), joint="curve")
            draw.line(line, fill=outline_colour(value), width=round(7 * share), joint="curve")
    for value in [int(v) for v in np.unique(label) if v]:
        for line in _contours(label == value, picture.size):
            for piece in _dashes(line, 16.0 * share, 16.0 * share):
                draw.line(piece, fill="#000000", width=round(8 * share))
                draw.line(piece, fill=_paler(outline_colour(value)), width=round(5 * share))


def outline_colour(value: int) -> str:
    """Colour of a class on every slice of the page."""
    return OUTLINES[(value - 1) % len(OUTLINES)]


def _paler(colour: str) -> tuple[int, int, int]:
    red, green, blue = ((int(colour[start : start + 2], 16) + 255) // 2 for start in (1, 3, 5))
    return red, green, blue


def _contours(mask: np.ndarray, size: tuple[int, int]) -> list[list[tuple[float, float]]]:
    """Outlines of a mask in picture pixels; the mask is padded so that they close at the border."""
    scale = np.array([size[1] / mask.shape[0], size[0] / mask.shape[1]])
    lines = [(line - 0.5) * scale for line in _traced(np.pad(mask, 1).astype(float), 0.5)]
    return [[(float(x), float(y)) for y, x in line] for line in lines]


def _dashes(line: list[tuple[float, float]], on: float, off: float) -> list[list[tuple[float, float]]]:
    """Cut a line into pieces of length `on`, `off` apart."""
    points = np.asarray(line)
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
    pieces = []
    for start in np.arange(0.0, along[-1], on + off):
        end = min(start + on, along[-1])
        inside = (along > start) & (along < end)
        places = np.concatenate([[start], along[inside], [end]])
        xs, ys = (np.interp(places, along, points[:, k]) for k in (0, 1))
        pieces.append([(float(x), float(y)) for x, y in zip(xs, ys, strict=True)])
    return pieces


def _few_colours(picture: Image.Image) -> Image.Image:
    """The same picture in the colours of `_PALETTE`: greys by rounding, the pixels of outlines by the nearest one."""
    width, height = picture.size
    small = picture.resize((max(1, width // _SHARPER), max(1, height // _SHARPER)), Image.Resampling.LANCZOS)
    pixels = np.asarray(small).astype(np.int32)
    index = pixels[..., 1] // _GREY_STEP
    coloured = np.ptp(pixels, axis=2) > _GREY_STEP
    distance = ((pixels[coloured][:, None] - _PALETTE[None]) ** 2).sum(axis=2)
    index[coloured] = distance.argmin(axis=1)
    return _indexed(index, _PALETTE)


def _indexed(index: np.ndarray, palette: np.ndarray) -> Image.Image:
    picture = Image.fromarray(index.astype(np.uint8)).convert("P")
    picture.putpalette(palette.astype(np.uint8).tobytes())
    return picture


def data_uri(picture: Image.Image) -> str:
    """A picture as the address of itself."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _palette() -> np.ndarray:
    """Greys, and every outline colour with its shades towards black and towards white."""
    colours = [np.full(3, level) for level in range(0, 256, _GREY_STEP)]
    for name in OUTLINES:
        full = np.array([int(name[start : start + 2], 16) for start in (1, 3, 5)])
        colours += [full * share for share in np.linspace(0.2, 1, 9)]
        colours += [full + (255 - full) * share for share in np.linspace(0.15, 0.7, 6)]
    rounded: np.ndarray = np.array(colours).round().astype(np.int32)
    return rounded


_PALETTE = _palette()
