"""Which attack to run on every case: names and numbers as given, turned into an attack once the case is known."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from imaseg.attacks import Attack
from imaseg.auditing.source import Loaded
from imaseg.data.native import clip_limits, reached
from imaseg.errors import InputError
from imaseg.perturbations import Perturbation, eps_of_native, eps_of_range

_INTENSITY: dict[str, dict[str, str]] = {"linf": {}, "l2": {"unit": "rms"}}
"""Sets whose eps is an intensity, and how they are told so."""
_CONVERTED = ("native", "range")


@dataclass(frozen=True)
class AttackSettings:
    """An attack on any case.

    Attributes:
        attack: registered name or preset.
        perturbation: registered name of the set.
        eps: budget in `unit`.
        unit: of the set where it has several; "native" (HU, grey levels) or "range" (share of the case's range) for
            Linf and, in RMS, L2; None for the set's own.
        steps, objective, restarts: of the attack; its own or the preset's if None.
        seed: of every random number.
    """

    eps: float
    attack: str = "pgd"
    perturbation: str = "l2"
    unit: str | None = None
    steps: int | None = None
    objective: str | None = None
    restarts: int | None = None
    seed: int = 0

    def build(self, case: Loaded) -> Attack:
        """The attack on one case.

        Of a raw case only those values may change, and only so far, that a file can hold it (`imaseg.data.native`);
        a deformation moves all tissue.

        Raises:
            InputError: if a name is unknown, or settings do not fit together or to the case.
        """
        given = {"steps": self.steps, "objective": self.objective, "restarts": self.restarts}
        spec = {"name": self.attack} | {key: value for key, value in given.items() if value is not None}
        try:
            perturbation = Perturbation.build(self._set(case))
            return Attack.build(spec, perturbation, seed=self.seed)
        except ValueError as error:
            raise InputError(str(error)) from error

    def _set(self, case: Loaded) -> dict[str, Any]:
        """Name and arguments of the perturbation set."""
        kind = Perturbation.named(self.perturbation)
        known = inspect.signature(kind).parameters
        spec: dict[str, Any] = {"name": self.perturbation, "eps": self.eps}
        if "spacing" in known:
            spec["spacing"] = case.volume.spacing
        if not kind.moves_label:
            spec |= _room(case)
        if self.unit in _CONVERTED:
            return spec | self._converted(case)
        if self.unit is None:
            return spec
        if "unit" in known:
            return spec | {"unit": self.unit}
        if (own := Perturbation.build(spec).unit) != self.unit:
            more = f", {' or '.join(_CONVERTED)}" if self.perturbation in _INTENSITY else ""
            msg = f"unit of {self.perturbation} must be {own!r}{more}, got {self.unit!r}. Leave --unit out."
            raise InputError(msg)
        return spec

    def _converted(self, case: Loaded) -> dict[str, Any]:
        """Budget in the units of the model's input."""
        if self.perturbation not in _INTENSITY:
            sets = " and ".join(_INTENSITY)
            msg = f"unit {self.unit!r} must go with {sets}, whose eps is an intensity, got {self.perturbation!r}."
            raise InputError(msg)
        if self.unit == "range":
            eps = eps_of_range(self.eps, torch.from_numpy(case.volume.image)[None])
        elif case.native_scale is None:
            msg = (
                f"unit 'native' must have one native unit per case, got none or several channels' for "
                f"{case.volume.id}. Give eps in units of the model's input."
            )
            raise InputError(msg)
        else:
            eps = eps_of_native(self.eps, case.native_scale)
        return {"eps": float(eps), **_INTENSITY[self.perturbation]}


def _room(case: Loaded) -> dict[str, Tensor | tuple[float, float]]:
    """`region` and `bounds` of what a file can hold, where that is not everything."""
    room: dict[str, Tensor | tuple[float, float]] = {}
    free = reached(case.volume.image, case.steps)
    if not free.all():
        room["region"] = torch.from_numpy(free)[None]
    limits = clip_limits(case.volume.image, case.steps)
    if limits is not None:
        room["bounds"] = limits
    return room
