"""The slice that an audit stored for a case, as three pictures: clean image, perturbation, attacked image.

Pixels keep their size in mm, so a slice of anisotropic voxels is not squeezed.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from PIL.ImageColor import getrgb
from skimage.measure import find_contours

from imaseg.data.plain import is_number
from imaseg.report.audits import Audits
from imaseg.report.drawing.stored import read_arrays

OUTLINES = ("#56B4E9", "#E69F00", "#00C08B", "#F58CC5", "#F0E442", "#FF7F50")
_LONG_SIDE = 420
_SHARPER = 2
_LOSSY = {"quality": 85, "method": 6}
COLD, NEUTRAL, WARM = np.array([33, 102, 172]), np.array([247, 247, 247]), np.array([178, 24, 43])
_traced: Callable[[np.ndarray, float], list[np.ndarray]] = find_contours


_IMAGES = ("image", "attacked_image")
_CLASSES = ("label", "clean_prediction", "attacked_prediction")


@dataclass(frozen=True)
class Slice:
    """One 2D slice of a case; arrays (rows, columns), spacing in mm per row and column."""

    image: np.ndarray
    attacked_image: np.ndarray
    label: np.ndarray
    clean_prediction: np.ndarray
    attacked_prediction: np.ndarray
    spacing: np.ndarray

    @property
    def perturbation(self) -> np.ndarray:
        """What the attack added, in the model's input units."""
        change: np.ndarray = self.attacked_image - self.image
        return change

    @property
    def scale(self) -> float:
        """Largest absolute perturbation on this slice: the end of the colour scale on both sides."""
        return float(np.abs(self.perturbation).max(initial=0.0))


def read_slice(path: Path) -> Slice:
    """Read the slice that the audit stored for one case.

    Raises:
        InputError: as `read_arrays`.
    """
    arrays = read_arrays({path: [*_IMAGES, *_CLASSES]}, 2)
    finite = {name: np.nan_to_num(array) for name, array in arrays.items()}
    return Slice(**finite | {name: finite[name].astype(int) for name in _CLASSES})


def pictures(view: Slice) -> tuple[str, str, str]:
    """Data-URIs of the clean image, the perturbation and the attacked image.

    Both images share one grey window (1st to 99th percentile of the clean one). Predictions are solid
    outlines, the label is dashed; the colour is the class.
    """
    before, after = (grey_levels(image, *grey_window(view.image)) for image in (view.image, view.attacked_image))
    clean, attacked = _outlined(before, view.clean_prediction, view), _outlined(after, view.attacked_prediction, view)
    return clean, _diverging(view), attacked


def grey_window(image: np.ndarray) -> tuple[float, float]:
    """1st and 99th percentile of an image, apart."""
    low, high = (float(end) for end in np.percentile(image, [1, 99]))
    return low, high if high > low else low + 1.0


def grey_levels(image: np.ndarray, low: float, high: float) -> np.ndarray:
    """Pixels (rows, columns, 3) of an image in the window from `low` (black) to `high` (white)."""
    levels = np.clip((image - low) / (high - low), 0, 1) * 255
    return np.repeat(levels.astype(np.uint8)[..., None], 3, axis=2)


def outlined_classes(audits: Audits) -> list[tuple[str, str]]:
    """Name and outline colour of every labelled class."""
    names = {int(n): name for a in audits[::-1] for n, name in a.summary.data.labels.items() if is_number(n) and int(n)}
    return [(name, outline_colour(value)) for value, name in sorted(names.items())]


def outline_colour(value: int) -> str:
    """Colour of a class on every slice of the page."""
    return OUTLINES[(value - 1) % len(OUTLINES)]


def _outlined(pixels: np.ndarray, prediction: np.ndarray, view: Slice) -> str:
    """Drawn larger and made smaller, so that outlines are smooth."""
    picture = enlarged(pixels, view.spacing, _SHARPER * _LONG_SIDE, Image.Resampling.BICUBIC)
    outline(picture, prediction, view.label)
    return data_uri(picture.reduce(_SHARPER), lossless=False)


def _diverging(view: Slice) -> str:
    """Blue for what was taken away, near white for no change, red for what was added; voxels stay sharp."""
    share = np.clip(view.perturbation / (view.scale or 1.0), -1, 1)[..., None]
    colours = NEUTRAL + np.abs(share) * (np.where(share < 0, COLD, WARM) - NEUTRAL)
    return data_uri(enlarged(colours.round().astype(np.uint8), view.spacing, _LONG_SIDE, Image.Resampling.NEAREST))


def enlarged(pixels: np.ndarray, spacing: np.ndarray, long_side: int, by: Image.Resampling) -> Image.Image:
    """Pixels (rows, columns, 3) as a picture in proportion to their spacing in mm.

    >>> enlarged(np.zeros((10, 20, 3), np.uint8), np.array([2.0, 1.0]), 40, Image.Resampling.NEAREST).size
    (40, 40)
    """
    rows, columns = pixels.shape[0] * spacing[0], pixels.shape[1] * spacing[1]
    factor = long_side / max(rows, columns)
    return Image.fromarray(pixels).resize((max(1, round(columns * factor)), max(1, round(rows * factor))), by)


def outline(picture: Image.Image, prediction: np.ndarray, label: np.ndarray, *, thin: bool = False) -> None:
    """Draw the outlines of two maps of classes: the prediction's solid, the label's dashed and paler.

    Args:
        picture: to draw on.
        prediction: (rows, columns) integer.
        label: likewise.
        thin: lines for a picture that is not made smaller afterwards.
    """
    draw, share = ImageDraw.Draw(picture), 0.4 if thin else 1.0
    for colour, line in _contours(prediction, picture.size):
        draw.line(line, fill="#000000", width=round(11 * share), joint="curve")
        draw.line(line, fill=colour, width=round(7 * share), joint="curve")
    for colour, line in _contours(label, picture.size):
        for dash in _dashes(line, 16 * share):
            draw.line(dash, fill="#000000", width=round(8 * share))
            draw.line(dash, fill=tuple((part + 255) // 2 for part in getrgb(colour)), width=round(5 * share))


def _contours(classes: np.ndarray, size: tuple[int, int]) -> Iterator[tuple[str, list[tuple[float, float]]]]:
    """Colour and outline, in picture pixels, of every class; the map is padded so that they close at the border."""
    scale = np.array([size[1] / classes.shape[0], size[0] / classes.shape[1]])
    for value in (int(value) for value in np.unique(classes) if value):
        for line in _traced(np.pad(classes == value, 1).astype(float), 0.5):
            yield outline_colour(value), [(float(x), float(y)) for y, x in (line - 0.5) * scale]


def _dashes(line: list[tuple[float, float]], length: float) -> list[list[tuple[float, float]]]:
    """Every second piece of a line, each of this length."""
    points = np.asarray(line)
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
    ends = np.stack([np.interp(np.arange(0, along[-1], length), along, axis) for axis in points.T], axis=1)
    return [[(x, y) for x, y in ends[start : start + 2].tolist()] for start in range(0, len(ends) - 1, 2)]


def data_uri(picture: Image.Image, *, lossless: bool = True) -> str:
    """A picture as the address of itself; its pixels are kept as they are, or closely enough for the eye."""
    buffer = io.BytesIO()
    picture.save(buffer, format="WEBP", **({"lossless": True} if lossless else _LOSSY))
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
