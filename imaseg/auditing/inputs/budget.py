"""Budgets in every unit, turned into a perturbation set once the case is known: one rule for plans and all commands.

What a set may change is one rule too. Of a raw case only those values may change, and only so far, that a file can hold
the change (`imaseg.data.inverse.native`): not beyond the clip limits, not where the preparation says "no tissue".
Prepared files hold every change. A deformation moves all tissue. `within` narrows every set to what lies so near to a
structure, deformations to control points that move nothing else.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Annotated, Any

import torch
from pydantic import BaseModel, BeforeValidator, Field
from torch import Tensor

from imaseg.auditing.inputs.source import Loaded
from imaseg.data.inverse.native import clip_limits, reached
from imaseg.errors import InputError
from imaseg.perturbations import Perturbation, millimetres
from imaseg.results.base import in_set
from imaseg.results.case import CaseRecord, CaseScale

Eps = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Room = dict[str, Any]
_UNITS = {"std": "is_intensity", "native": "is_intensity", "range": "is_intensity", "mm": "moves_label"}
"""Units that need the case, and the attribute of the sets that know them."""
_FOLD_FREE = 0.6
"""Longest displacement per distance of control points, a little less than `Deformation` allows."""
_VOXELS = 8.0
UNIT_SCALE = CaseScale(spacing=[1.0, 1.0, 1.0], std=1.0, span=1.0, native=1.0)
"""Stands for a case where none is known yet."""


def scale_of(case: Loaded) -> CaseScale:
    """What converts budgets of a case."""
    image = torch.from_numpy(case.volume.image)
    return CaseScale(
        spacing=list(case.volume.spacing[: image.ndim - 1]),
        std=float(image.double().std(correction=0)),
        span=float(image.max() - image.min()),
        native=case.native_scale,
    )


def room_of(case: Loaded) -> Room:
    """`region` and `bounds` of what the files of a case can hold, where that is not everything."""
    room: Room = {}
    free = reached(case.volume.image, case.steps)
    if not free.all():
        room["region"] = torch.from_numpy(free)[None]
    if (limits := clip_limits(case.volume.image, case.steps)) is not None:
        room["bounds"] = limits
    return room


def require_spacing(case: Loaded) -> None:
    """Refuse a case whose files do not say how large a voxel is.

    Raises:
        InputError: if so.
    """
    if not case.spaced:
        msg = (
            f"within must go with voxel sizes in mm, got case {case.volume.id} from pictures, which state none. Leave "
            "`within` out, or write the images as NIfTI."
        )
        raise InputError(msg)


class Budgeted(BaseModel, extra="forbid"):
    """A perturbation set as a plan or a command names it.

    Attributes:
        perturbation: registered name.
        unit: of eps. "std": standard deviations of each case's own image, "range": share of its intensity range,
            "native": units of the file (HU, grey levels), all three for sets that add intensities, such as linf and, as
            RMS per voxel, l2; "mm" for deformations; else a unit of the set. None is the set's own, in the units of the
            model's input where that is an intensity.
        within: only what lies within so many mm of a labelled structure may change ("20 mm"), and an RMS is over these
            voxels; the whole image of a case without a structure. None for whole images.
    """

    perturbation: str = "l2"
    unit: str | None = None
    within: Annotated[float | None, BeforeValidator(millimetres)] = None

    @property
    def is_intensity(self) -> bool:
        """Whether eps is a change of intensity per voxel."""
        return Perturbation.named(self.perturbation).is_intensity and self.stated_unit != "norm"

    @property
    def stated_unit(self) -> str:
        """The unit that results are stated in."""
        return self.unit or self.build_set(0.0).unit

    @property
    def in_set(self) -> str:
        """Set, and where it may change, as names hold it."""
        return in_set(self.perturbation, self.within)

    @property
    def searched(self) -> tuple[str, str]:
        """Set, where it may change, and unit: budgets of probes in which these agree mean the same."""
        return self.in_set, self.stated_unit

    def confined(self, records: Sequence[CaseRecord]) -> dict[str, Any]:
        """Where the set may change, and of how many cases that is all since they have no structure."""
        bare = 0 if self.within is None else sum(not any(record.volumes.values()) for record in records)
        return {"within": self.within, "unrestricted": bare}

    def same_set(self, other: Budgeted) -> bool:
        """Whether budgets of both mean the same."""
        return self.searched == other.searched

    def build_set(
        self, eps: float, scale: CaseScale = UNIT_SCALE, room: Room | None = None, *, reach: float = 0.0
    ) -> Perturbation:
        """The perturbation set with budget `eps` (in `unit`) on one case.

        Args:
            eps: budget.
            scale: of the case.
            room: what may change: `region` and `bounds` of its files, and what is `inside` the given distance.
            reach: the largest budget that the set, once built, must hold.

        Raises:
            ValueError: if names, units or numbers do not fit together or to the case.
        """
        free = dict(room or {})
        inside = free.pop("inside", None)
        whole = self._on_whole_image(eps, scale, free, reach)
        if inside is None:
            return whole
        return _confined(whole, inside, self.within) if whole.moves_label else whole.within(inside)

    def _on_whole_image(self, eps: float, scale: CaseScale, free: Room, reach: float) -> Perturbation:
        kind = Perturbation.named(self.perturbation)
        spec: dict[str, Any] = {"name": self.perturbation, "eps": eps * self.factor(scale)}
        if kind.moves_label:
            usual = _VOXELS * math.prod(scale.spacing) ** (1 / len(scale.spacing))
            spec |= {"spacing": scale.spacing, "control_spacing": max(usual, max(eps, reach) / _FOLD_FREE)}
        else:
            spec |= free
        converted = _UNITS.get(self.unit or "") == "is_intensity"
        if kind.usual_unit is not None and self.unit is not None:  # the set has several units
            return Perturbation.build(spec | {"unit": kind.usual_unit if converted else self.unit})
        built = Perturbation.build(spec)
        if not converted and self.unit not in (None, built.unit):
            choices = [built.unit, *(unit for unit, trait in _UNITS.items() if getattr(kind, trait))]
            msg = (
                f"unit of {self.perturbation} must be {' or '.join(dict.fromkeys(choices))}, got {self.unit!r}. "
                "Leave the unit out."
            )
            raise ValueError(msg)
        return built

    def factor(self, scale: CaseScale) -> float:
        """What one `unit` is in the unit of the built set.

        Raises:
            ValueError: if the set does not know the unit, or the case has no native units.
        """
        trait = _UNITS.get(self.unit or "")
        if trait is not None and not getattr(Perturbation.named(self.perturbation), trait):
            sets = [name for name, kind in Perturbation.known().items() if getattr(kind, trait)]
            msg = f"unit {self.unit!r} must go with {' or '.join(sets)}, got {self.perturbation!r}. Leave the unit out."
            raise ValueError(msg)
        if self.unit == "native":
            if not scale.native:
                msg = (
                    "unit 'native' must have one native unit per case, got none or several channels'. Give eps in "
                    "units of the model's input, or in std."
                )
                raise ValueError(msg)
            return 1 / scale.native
        return {"std": scale.std, "range": scale.span}.get(self.unit or "", 1.0)


def _confined(deformation: Perturbation, inside: Tensor, within: float | None) -> Perturbation:
    """A deformation whose control points move only where all that they move is inside.

    Raises:
        ValueError: if no control point is free.
    """
    confined = copy.copy(deformation)
    confined.region = inside
    try:
        confined.check(torch.zeros(inside.shape, device=inside.device))
    except ValueError as error:
        msg = (
            f"within of a deformation must be so wide that a control point moves nothing beyond it, got {within:g} mm "
            "around structures too small for that. Take a larger distance, or leave `within` out."
        )
        raise ValueError(msg) from error
    return confined
