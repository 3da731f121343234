"""What margins will cost, before they are searched."""

from __future__ import annotations

import math
import time
from typing import cast

import torch

from imaseg.attacks import PGD
from imaseg.auditing.margin_maps import DRAWS, against_smoothed, attackable
from imaseg.auditing.margin_settings import MarginSettings
from imaseg.auditing.source import Loaded
from imaseg.auditing.subject import Subject, tensors
from imaseg.margins.voxel import VoxelMargin
from imaseg.margins.voxel_gradient import supports
from imaseg.models.device import seconds_per_pass
from imaseg.perturbations import Perturbation

_TRIAL = 3
_BESIDES = 8
"""Lengths of the search's attack spent outside of halving: first look, drawing back, challenges, confirmation."""
_GROUP_BESIDES = 6
"""Passes on a group of voxels besides its gradients: blowing up and drawing back."""
_DERIVATIVE = 2
"""Passes that a forward-mode derivative is worth."""


class MarginCost:
    """Expected seconds of a case, judged by the first one that can be read.

    Building its searches shows wrong settings before anything is written.

    Args:
        subject: what is measured.
        settings: how.

    Raises:
        InputError: if settings do not fit together or to the case.
    """

    def __init__(self, subject: Subject, settings: MarginSettings) -> None:
        self.model, self.settings = subject.model, settings
        self.first = subject.first()
        settings.judge()
        self.certificate = settings.certificate()
        self.sets: list[tuple[Perturbation, float]] = []
        if self.first is None:
            return
        for ceiling in settings.sets:
            perturbation = ceiling.build(self.first)
            settings.margin(perturbation)
            mapped = settings.voxel if ceiling.budget.perturbation in settings.voxel_sets else ()
            maps = sum(_passes(settings.voxel_margin(perturbation, method)) for method in mapped)
            if self.certificate is not None and "attack" in settings.voxel and attackable(perturbation):
                maps += DRAWS * _passes(against_smoothed(perturbation, settings))
            self.sets.append((perturbation, maps))

    def seconds(self) -> float:
        """Expected seconds of a case; 0 if none can be read."""
        if self.first is None:
            return 0.0
        settings, structures = self.settings, len(self.model.card.labels)
        margins = settings.steps * (math.log2(1 / settings.rtol) + _BESIDES) * structures
        known = sum(self._pass(perturbation) * (margins + maps) for perturbation, maps in self.sets)
        if self.certificate is None:
            return known
        image = tensors(self.model, self.first)[0]
        copies = self.certificate.samples + self.certificate.selection
        return known + copies * seconds_per_pass(self.model, image) / _DERIVATIVE

    def _pass(self, perturbation: Perturbation) -> float:
        """Seconds of a step of ascent, the better of two; at so small a budget nothing breaks and ends it early."""
        small = perturbation.with_eps(torch.as_tensor(perturbation.eps) / 1000)
        pauses = []
        for _ in range(2):  # the first call in a process pays for what PyTorch sets up
            begin = time.perf_counter()
            PGD(small, steps=_TRIAL)(self.model, *tensors(self.model, cast("Loaded", self.first)))
            pauses.append((time.perf_counter() - begin) / (_TRIAL + 1))
        return min(pauses)


def _passes(margin: VoxelMargin) -> float:
    """Passes that a map takes."""
    if margin.method == "gradient":
        return margin.draws * _DERIVATIVE if supports(margin.perturbation) else 0
    return margin.rungs * margin.attack.steps + margin.focus * (margin.steps + _GROUP_BESIDES)
