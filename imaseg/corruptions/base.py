"""Base class of all corruptions. Random choices are made once per case; the severity only scales their effect."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from imaseg.corruptions.calibrate import Setting, calibrate
from imaseg.corruptions.scene import Image, Scene, is_ct
from imaseg.data.volume import Volume
from imaseg.errors import InputError
from imaseg.registry import Registered

SEVERITIES = (1, 2, 3, 4, 5)
Label = NDArray[np.int64]


@dataclass(frozen=True)
class Effect:
    """A corruption with all random choices made, ready to be applied to one case at any strength.

    Attributes:
        apply: returns the changed image (C, X, Y, Z) at a parameter; 0 changes nothing.
        limit: largest sensible parameter for this image.
        ladder: parameters at severities 1 to 5; None if they are calibrated by the change they make.
        describe: returns the parameter, and what follows from it, by name with unit.
        move: returns the moved label at a parameter, for corruptions that move tissue.
    """

    apply: Callable[[float], Image]
    limit: float
    describe: Callable[[float], dict[str, float]]
    ladder: Sequence[float] | None = None
    move: Callable[[float, Label], Label] | None = None


@dataclass(frozen=True)
class Corrupted:
    """A corrupted case and how it was made.

    Attributes:
        volume: the changed image with its label, which moves too if the corruption moves tissue.
        severity: 1 to 5.
        parameters: the parameters used, by name.
        change: RMS of the change over the body, in standard deviations of the clean image there.
        reached: whether the change is the one that the severity asks for; False, for example, at the parameter's limit.
    """

    volume: Volume
    severity: int
    parameters: dict[str, float]
    change: float
    reached: bool


class Corruption(Registered, ABC):
    """A fault of a scanner or an acquisition, at five severities.

    Severities 1 to 5 change the image by 0.05, 0.1, 0.2, 0.4 and 0.8 of its standard deviation (RMS over the body); the
    parameter that does so is calibrated for each image. If the change does not measure the harm (`physical`), as for
    rotations, severities are in a physical unit. Random choices depend on seed, case id and corruption only.

    Attributes:
        title: name in tables.
        library: library that simulates it, if it is not simulated here.
        ct, other: whether it occurs in CT, and in all other images.
        physical: whether severities are in a physical unit rather than calibrated by change.
        after_normalisation: whether it can only be applied to the model's input, after normalisation.

    Args:
        seed: seed of the random choices.
    """

    plugin_group = "imaseg.corruptions"
    required = ("title",)

    title: ClassVar[str]
    library: ClassVar[str] = ""
    ct: ClassVar[bool] = True
    other: ClassVar[bool] = True
    physical: ClassVar[bool] = False
    after_normalisation: ClassVar[bool] = False

    def __init__(self, *, seed: int = 0) -> None:
        self.seed = seed

    def __call__(self, volume: Volume, *, severity: int, modality: Sequence[str] = ()) -> Corrupted:
        """Return the volume at one severity; arguments as in `ladder`."""
        (corrupted,) = self.ladder(volume, severities=(severity,), modality=modality)
        return corrupted

    def ladder(
        self, volume: Volume, *, severities: Sequence[int] = SEVERITIES, modality: Sequence[str] = ()
    ) -> Iterator[Corrupted]:
        """Yield the volume at each severity; the input is not changed.

        Args:
            volume: image (C, X, Y, Z) or (C, X, Y) in the units of its file, label or None.
            severities: among 1 to 5.
            modality: name per channel, e.g. `("CT",)`; empty if unknown.

        Raises:
            InputError: if a severity is unknown, or the corruption does not occur in such an image.
        """
        check_severities(severities)
        if reason := self.why_not(volume, modality):
            msg = f"corruption {self.name} must fit case {volume.id}: {reason}. Leave it out."
            raise InputError(msg)
        flat, scene = volume.image.ndim == 3, self._scene(volume, modality)
        draw = np.random.default_rng([self.seed, crc32(volume.id.encode()), crc32(self.name.encode())])
        effect = self._effect(scene, draw)
        settings = self._settings(scene, effect)
        for severity in severities:
            parameter = settings[severity - 1].parameter
            changed = self._apply(scene, effect, parameter)
            yield Corrupted(
                replace(
                    volume,
                    image=changed[..., 0] if flat else changed,
                    label=_moved(volume.label, effect, parameter, flat=flat),
                ),
                severity,
                effect.describe(parameter),
                scene.change(changed),
                settings[severity - 1].reached,
            )

    def why_not(self, volume: Volume, modality: Sequence[str] = ()) -> str:
        """Why this corruption cannot occur in such an image; empty if it can."""
        ct = is_ct(modality, volume.image)
        if ct and not self.ct:
            return "it does not occur in CT"
        if not ct and not self.other:
            return "it occurs in CT only"
        return self._why_not(self._scene(volume, modality))

    @staticmethod
    def _scene(volume: Volume, modality: Sequence[str]) -> Scene:
        image = volume.image[..., None] if volume.image.ndim == 3 else volume.image
        return Scene(image, volume.spacing, ct=is_ct(modality, image))

    @abstractmethod
    def _effect(self, scene: Scene, rng: np.random.Generator) -> Effect:
        """Make all random choices for one case and return their effect."""

    def _why_not(self, scene: Scene) -> str:
        return ""

    def _settings(self, scene: Scene, effect: Effect) -> list[Setting]:
        if effect.ladder is None:
            return calibrate(lambda parameter: scene.change(self._apply(scene, effect, parameter)), effect.limit)
        # The limit shrinks the whole ladder, so that severities stay apart.
        share = min(1.0, effect.limit / effect.ladder[-1])
        return [Setting(level * share, reached=share == 1.0) for level in effect.ladder]

    def _apply(self, scene: Scene, effect: Effect, parameter: float) -> Image:
        changed = np.asarray(effect.apply(parameter), np.float32)
        if effect.move is None:
            changed = np.where(scene.empty, scene.image, changed)
        return changed


def check_severities(severities: Sequence[int]) -> None:
    """Raise unless all severities are among 1 to 5.

    Raises:
        InputError: naming the first wrong one.
    """
    for severity in severities:
        if severity not in SEVERITIES:
            msg = f"severity must be one of 1, 2, 3, 4, 5, got {severity}."
            raise InputError(msg)


def _moved(label: Label | None, effect: Effect, parameter: float, *, flat: bool) -> Label | None:
    if label is None or effect.move is None:
        return label
    moved = effect.move(parameter, label[..., None] if flat else label)
    return moved[..., 0] if flat else moved
