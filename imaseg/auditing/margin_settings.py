"""What `imaseg margin` measures on every case: sets with their ceilings, criterion and search, as given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch

from imaseg.attacks import PGD
from imaseg.auditing.budget import Budget
from imaseg.auditing.source import Loaded
from imaseg.errors import InputError
from imaseg.margins import CertifiedMargin, Criterion, SampleMargin, strong_like
from imaseg.margins.voxel import Method, VoxelMargin
from imaseg.perturbations import Perturbation

USUAL = ("l2", "linf", "bias-field", "gamma", "deformation")
MAPPED = ("l2", "linf")
"""Sets that voxel maps are made of where nobody says: a map takes minutes."""
METHODS = ("attack", "gradient")
_NUMBERS: dict[str, dict[str, Any]] = {
    "dice-below": {"threshold": 0.5, "relative": False},
    "voxels-flipped": {"fraction": 0.1},
}
"""Criteria that can be asked of single structures, with their usual numbers."""
_FINER = 1024.0


@dataclass(frozen=True)
class Ceiling:
    """A perturbation set and the largest budget looked at.

    Attributes:
        budget: as given, or the set's usual ceiling.
        usual: whether it is from there; then it gives way where the set itself ends earlier (folds of a deformation).
    """

    budget: Budget
    usual: bool = False

    @classmethod
    def parse(cls, text: str) -> Ceiling:
        """From NAME, NAME:EPS or NAME:EPS:UNIT.

        >>> Ceiling.parse("l2"), Ceiling.parse("linf:20:native").budget.eps
        (Ceiling(budget=Budget(perturbation='l2', eps=0.4, unit='rms'), usual=True), 20.0)

        Raises:
            InputError: if it is something else.
        """
        name, *given = text.split(":")
        try:
            kind = Perturbation.named(name)
        except ValueError as error:
            raise InputError(str(error)) from error
        try:
            eps = float(given[0]) if given else kind.usual_ceiling
        except ValueError:
            eps = 0.0
        if not eps > 0 or len(given) > 2:
            msg = (
                f"perturbation must be NAME, NAME:EPS or NAME:EPS:UNIT with EPS > 0, got {text!r}. "
                f"Write {name}:0.1, for example."
            )
            raise InputError(msg)
        return cls(Budget(name, eps, given[1] if len(given) > 1 else kind.usual_unit), usual=not given)

    def build(self, case: Loaded) -> Perturbation:
        """The set on one case.

        Raises:
            InputError: if eps or unit do not fit.
        """
        try:
            if not self.usual:
                return self.budget.build(case)
            # `stretched` goes no farther than the set allows, and a power of two leaves every digit of eps alone.
            small = replace(self.budget, eps=self.budget.eps / _FINER).build(case)
            reach = float(torch.as_tensor(small.stretched(_FINER).eps))
            return small.with_eps(min(self.budget.eps, reach))
        except ValueError as error:
            raise InputError(str(error)) from error

    def unit_on(self, perturbation: Perturbation) -> tuple[str, float]:
        """The unit that margins are stated in, and what one unit of the built set is in it."""
        if self.budget.unit in (None, perturbation.unit):
            return perturbation.unit, 1.0
        return str(self.budget.unit), self.budget.eps / float(torch.as_tensor(perturbation.eps))


@dataclass(frozen=True)
class MarginSettings:
    """Margins on any case.

    Attributes:
        sets: what may change, each set once.
        criterion: registered name and arguments; of single structures with `classes` added.
        steps, rtol, seed: of the search.
        voxel: methods of voxel margins, of `METHODS`; none for no maps.
        voxel_sets: names of the sets that maps are made of.
        focus: groups of voxels per map that are attacked one by one.
        certify: noise of the smoothed model in units of the image; None for no certificates.
        samples, alpha: of the certificates.
    """

    sets: tuple[Ceiling, ...] = field(default_factory=lambda: tuple(Ceiling.parse(name) for name in USUAL))
    criterion: dict[str, Any] = field(default_factory=lambda: {"name": "dice-below", "threshold": 0.5})
    steps: int = 20
    rtol: float = 0.05
    seed: int = 0
    voxel: tuple[str, ...] = ()
    voxel_sets: tuple[str, ...] = MAPPED
    focus: int = 1000
    certify: float | None = None
    samples: int = 100
    alpha: float = 0.001

    def __post_init__(self) -> None:
        names = [ceiling.budget.perturbation for ceiling in self.sets]
        twice = next((name for name in names if names.count(name) > 1), None)
        if not names or twice:
            msg = f"perturbations must be different sets, got {f'{twice} twice' if twice else 'none'}."
            raise InputError(msg)

    def judge(self, classes: Sequence[int] | None = None) -> Criterion:
        """When the whole case, or some classes, count as broken.

        Raises:
            InputError: if the criterion does not fit.
        """
        try:
            return Criterion.build(self.criterion, **({} if classes is None else {"classes": classes}))
        except ValueError as error:
            raise InputError(str(error)) from error

    def margin(self, perturbation: Perturbation, classes: Sequence[int] | None = None) -> SampleMargin:
        """The search on one set, for the whole case or for some classes.

        Raises:
            InputError: if criterion, steps or rtol do not fit.
        """
        criterion = self.judge(classes)
        try:
            attack = PGD(perturbation, steps=self.steps, objective=criterion.objective(), seed=self.seed)
            return SampleMargin(
                perturbation, criterion=criterion, attack=attack, challenger=strong_like(attack), rtol=self.rtol
            )
        except ValueError as error:
            raise InputError(str(error)) from error

    def voxel_margin(self, perturbation: Perturbation, method: str) -> VoxelMargin:
        """The map of one set by one method.

        Raises:
            InputError: if method or focus do not fit.
        """
        try:
            return VoxelMargin(perturbation, method=cast("Method", method), focus=self.focus, seed=self.seed)
        except ValueError as error:
            raise InputError(str(error)) from error

    def certificate(self) -> CertifiedMargin | None:
        """The certificates, if they are wanted.

        Raises:
            InputError: if noise or samples do not fit.
        """
        if self.certify is None:
            return None
        try:
            return CertifiedMargin(self.certify, self.samples, self.alpha, seed=self.seed)
        except ValueError as error:
            raise InputError(str(error)) from error


def criterion_of(name: str, *, threshold: float | None, relative: bool, fraction: float | None) -> dict[str, Any]:
    """A criterion as the command line takes it; what is not given keeps its usual value.

    Raises:
        InputError: if there is no such criterion, or a number belongs to the other one.
    """
    given = {"threshold": threshold, "relative": relative or None, "fraction": fraction}
    if name not in _NUMBERS:
        msg = f"criterion must be one of {', '.join(_NUMBERS)}, got {name!r}."
        raise InputError(msg)
    stray = [key for key, value in given.items() if value is not None and key not in _NUMBERS[name]]
    if stray:
        msg = f"--{stray[0]} must go with another criterion than {name}, which takes {', '.join(_NUMBERS[name])}."
        raise InputError(msg)
    return {"name": name} | _NUMBERS[name] | {key: value for key, value in given.items() if value is not None}


def voxel_methods(method: str | None, *, wanted: bool) -> tuple[str, ...]:
    """Methods of voxel margins as the command line takes them.

    Raises:
        InputError: if there is no such method, or one is named though no voxel margins are wanted.
    """
    if method is not None and (method not in (*METHODS, "both") or not wanted):
        msg = f"method must be attack, gradient or both, next to --voxel, got {method!r}."
        raise InputError(msg)
    if not wanted:
        return ()
    return METHODS if method in (None, "both") else (str(method),)
