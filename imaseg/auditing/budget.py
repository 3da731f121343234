"""What may change and how far, as a user gives it, turned into a perturbation set once the case is known."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from imaseg.auditing.source import Loaded
from imaseg.data.native import clip_limits, reached
from imaseg.errors import InputError
from imaseg.perturbations import Perturbation, eps_of_native, eps_of_range

_CONVERTED = ("native", "range")


@dataclass(frozen=True)
class Budget:
    """A perturbation set on any case.

    Attributes:
        perturbation: registered name of the set.
        eps: budget in `unit`.
        unit: of the set where it has several; "native" (HU, grey levels) or "range" (share of the case's range) for
            Linf and, in RMS, L2; None for the set's own.
    """

    perturbation: str
    eps: float
    unit: str | None = None

    def build(self, case: Loaded) -> Perturbation:
        """The set on one case.

        Of a raw case only those values may change, and only so far, that a file can hold it (`imaseg.data.native`);
        a deformation moves all tissue.

        Raises:
            ValueError: if the name is unknown, or settings do not fit together or to the case.
        """
        return Perturbation.build(self._spec(case))

    def _spec(self, case: Loaded) -> dict[str, Any]:
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
            more = f", {' or '.join(_CONVERTED)}" if kind.is_intensity else ""
            msg = f"unit of {self.perturbation} must be {own!r}{more}, got {self.unit!r}. Leave the unit out."
            raise InputError(msg)
        return spec

    def _converted(self, case: Loaded) -> dict[str, Any]:
        """Budget in the units of the model's input."""
        kind = Perturbation.named(self.perturbation)
        if not kind.is_intensity:
            sets = " and ".join(sorted(name for name, other in Perturbation.known().items() if other.is_intensity))
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
        return {"eps": float(eps)} | ({"unit": kind.usual_unit} if kind.usual_unit else {})


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
