"""Properties of an image that corruptions need: the body, its brightness, and which axis runs across the slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_opening

from imaseg.data.cohort.hounsfield import looks_like_hounsfield
from imaseg.data.preparation.body import body_mask

Image = NDArray[np.float32]
_AIR = 0.25
"""Voxels outside of the bright component are air if their brightness is at most this share of its own, else tissue."""
_HOUNSFIELD = -500.0
"""CT with values below this is in HU, not normalised."""
_THICKER = 1.1


@dataclass(frozen=True)
class Scene:
    """An image before it is corrupted, with derived properties.

    Attributes:
        image: (C, X, Y, Z), finite; a 2D picture has one slice.
        spacing: voxel size in mm along X, Y, Z.
        ct: whether it is CT; the numbers are HU unless they were normalised.
    """

    image: Image
    spacing: tuple[float, float, float]
    ct: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along X, Y, Z."""
        x, y, z = self.image.shape[1:]
        return x, y, z

    @cached_property
    def body(self) -> NDArray[np.bool_]:
        """(X, Y, Z) bool: the body without the air around it; all voxels if the image is filled with tissue."""
        first = self.image[0]
        hounsfield = self.ct and bool(first.min() < _HOUNSFIELD)
        inside = body_mask(first, hounsfield=hounsfield)
        if not inside.any() or inside.all():
            return np.ones(self.shape, bool)
        if not hounsfield:
            low = np.percentile(first, 0.5)
            if np.median(first[~inside]) - low > _AIR * (np.median(first[inside]) - low):
                return np.ones(self.shape, bool)
        return inside

    @cached_property
    def std(self) -> NDArray[np.float64]:
        """(C, 1, 1, 1): standard deviation of each channel inside the body; 0 where it does not vary."""
        return self.image[:, self.body].std(axis=1, dtype=np.float64).reshape(-1, 1, 1, 1)

    @cached_property
    def mean(self) -> NDArray[np.float64]:
        """(C, 1, 1, 1): mean of each channel inside the body."""
        return self.image[:, self.body].mean(axis=1, dtype=np.float64).reshape(-1, 1, 1, 1)

    @cached_property
    def low(self) -> Image:
        """(C, 1, 1, 1): lowest value of each channel, taken as "no signal"."""
        return self.image.min(axis=(1, 2, 3), keepdims=True)

    @property
    def signal(self) -> Image:
        """The image shifted so that "no signal" is 0; unchanged if it has no negative values."""
        return self.image - np.minimum(self.low, 0)

    def from_signal(self, signal: Image) -> Image:
        """Convert `signal` back to the values of the image."""
        return signal + np.minimum(self.low, 0)

    @cached_property
    def empty(self) -> NDArray[np.bool_]:
        """(C, X, Y, Z) bool: blocks of exactly 0 or the lowest value, which are masks or padding and not measured."""
        nothing = (self.image == 0) | (self.image == self.low)
        block = np.ones([min(side, 2) for side in self.shape], bool)
        inside = (slice(1, -1),) * 3
        return np.stack([binary_opening(np.pad(channel, 1, "edge"), block)[inside] for channel in nothing])

    @cached_property
    def through(self) -> int:
        """Axis (0 to 2) across the slices: the one of a single voxel, else the one of longest voxels, else the last."""
        single = [axis for axis, side in enumerate(self.shape) if side == 1]
        if single:
            return single[-1]
        longest = int(np.argmax(self.spacing))
        return longest if self.spacing[longest] > _THICKER * min(self.spacing) else 2

    @property
    def planes(self) -> tuple[int, int]:
        """The two axes within a slice."""
        first, second = (axis for axis in range(3) if axis != self.through)
        return first, second

    def change(self, other: Image) -> float:
        """RMS of the difference to `other` over the body, in standard deviations there; 0 if the image is constant."""
        squares = np.square(other[:, self.body].astype(np.float64) - self.image[:, self.body]).mean(axis=1)
        varies = self.std.ravel() > 0
        return float(np.sqrt((squares[varies] / self.std.ravel()[varies] ** 2).mean())) if varies.any() else 0.0


def is_ct(modality: Sequence[str], image: Image) -> bool:
    """Whether an image is CT, by the names of its channels or, without names, by values that look like HU.

    MR that was standardised and stored as whole numbers has values far below 0 too.
    """
    if any(name.strip() for name in modality):
        return any(name.strip().upper() == "CT" for name in modality)
    return len(image) == 1 and looks_like_hounsfield(image[0])
