"""The sections of a plan: attacks, margins, certificates, voxel maps, checks, and what the page shows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from imaseg.attacks import PGD, Attack
from imaseg.margins import CertifiedMargin, Criterion, SampleMargin, VoxelMargin, strong_like
from imaseg.perturbations import Perturbation

Budget = Annotated[float, Field(allow_inf_nan=False)]
_FOLD_FREE = 0.6
"""Longest displacement per distance of control points, a little less than `Deformation` allows."""
_VOXELS = 8.0
_LARGEST = 1e8
"""Voxels of a case that certificates have to reckon with."""


@dataclass(frozen=True)
class Ruler:
    """What budgets of one case are measured by.

    Attributes:
        spacing: voxel size in mm.
        std: standard deviation of all values of the image, in the units the model takes.
    """

    spacing: Sequence[float] = (1.0, 1.0, 1.0)
    std: float = 1.0

    @classmethod
    def of(cls, image: Tensor, spacing: Sequence[float]) -> Ruler:
        """Of an image (1, C, *spatial)."""
        return cls(tuple(spacing), float(image.double().std(correction=0)))


class Part(BaseModel):
    """A perturbation set as a plan names it.

    Attributes:
        perturbation: registered name.
        unit: of eps. "std", for l2 (as RMS per voxel) and linf, counts in standard deviations of each case's own image,
            so that one plan suits images of any scale; "mm" is for deformations. Else a unit of the set; None is its
            own, in the units of the model's input where that is an intensity.
    """

    model_config = ConfigDict(extra="forbid")

    perturbation: str = "l2"
    unit: str | None = None

    @property
    def kind(self) -> type[Perturbation]:
        """Class of the perturbation set."""
        return Perturbation.named(self.perturbation)

    @property
    def is_intensity(self) -> bool:
        """Whether eps is a change of intensity per voxel."""
        return self.kind.is_intensity and self.stated_unit != "norm"

    def build_set(self, eps: float, ruler: Ruler | None = None) -> Perturbation:
        """The perturbation set with budget `eps` (in `unit`) on one case.

        Raises:
            ValueError: if names or numbers do not fit together.
        """
        case = ruler if ruler is not None else Ruler()
        spec: dict[str, Any] = {"name": self.perturbation, "eps": eps * self.factor(case)}
        if self.unit == "mm":
            self._only("mm", ("deformation",))
            usual = _VOXELS * math.prod(case.spacing) ** (1 / len(case.spacing))
            spec |= {"spacing": case.spacing, "control_spacing": max(usual, self._reach(eps) / _FOLD_FREE)}
        elif self.unit == "std":
            if not self.kind.is_intensity:
                self._only("std", sorted(name for name, kind in Perturbation.known().items() if kind.is_intensity))
            spec |= {"unit": self.kind.usual_unit} if self.kind.usual_unit else {}
        elif self.unit is not None:
            spec["unit"] = self.unit
        return Perturbation.build(spec)

    def factor(self, ruler: Ruler) -> float:
        """What one `unit` is in the unit of the built set."""
        return ruler.std if self.unit == "std" else 1.0

    @property
    def stated_unit(self) -> str:
        """The unit that results are stated in."""
        return self.unit if self.unit in ("std", "mm") else self.build_set(0.0).unit

    def _reach(self, eps: float) -> float:
        """The largest budget that the set, once built, must hold."""
        return eps

    def _only(self, unit: str, sets: Sequence[str]) -> None:
        if self.perturbation not in sets:
            msg = f"unit {unit!r} must go with {' or '.join(sets)}, got {self.perturbation!r}. Leave the unit out."
            raise ValueError(msg)


class Probe(Part):
    """One attack over a ladder of budgets.

    Attributes:
        attack: registered name, or a published preset.
        eps: the ladder.
        objective: what the attack maximises; its own if not given.
        steps, restarts: of the attack; its own default if not given.
        name: in tables; made from the others if not given, unique within a plan.
    """

    attack: str
    eps: list[Budget] = Field(min_length=1)
    objective: str | None = None
    steps: int | None = Field(None, ge=1)
    restarts: int = Field(1, ge=1)
    name: str = ""

    def model_post_init(self, context: Any, /) -> None:
        """Sort the ladder; fill in the name: attack, set, and the objective where it is not Dice."""
        self.eps = sorted(set(self.eps))
        if not self.name:
            parts = [
                self.attack,
                self.perturbation,
                *([self.objective] if self.objective not in (None, "dice") else []),
            ]
            self.name = "-".join(map(str, parts))

    @property
    def noise(self) -> bool:
        """Whether it draws at random instead of searching."""
        return Attack.about(self.attack).is_noise

    @property
    def uses_gradients(self) -> bool:
        """Whether it asks the model for gradients."""
        return Attack.about(self.attack).uses_gradients

    def build(self, eps: float, seed: int, ruler: Ruler | None = None) -> Attack:
        """The attack at one budget."""
        spec: dict[str, Any] = {"name": self.attack, "restarts": self.restarts}
        given = {"steps": self.steps, "objective": self.objective}
        spec |= {key: value for key, value in given.items() if value is not None}
        return Attack.build(spec, self.build_set(eps, ruler), seed=seed)

    def ladder(self, ruler: Ruler) -> list[float]:
        """The budgets in the unit of the built set."""
        return [eps * self.factor(ruler) for eps in self.eps]

    def same_set(self, other: Part) -> bool:
        """Whether budgets of both mean the same."""
        return (self.perturbation, self.stated_unit) == (other.perturbation, other.stated_unit)

    def _reach(self, eps: float) -> float:
        return max(eps, *self.eps)


class MarginProbe(Part):
    """One sample margin per case.

    Attributes:
        eps: largest budget looked at.
        criterion: registered name and arguments.
        per_class: also the margin of each structure by itself.
        steps: of the PGD inside.
        rtol: relative width of the bracket.
        name: in tables; made from the set if not given, and from criterion and unit where a plan holds several.
    """

    eps: Budget = Field(gt=0)
    criterion: dict[str, Any] = {"name": "dice-below", "threshold": 0.5}
    per_class: bool = False
    steps: int = Field(10, ge=1)
    rtol: Budget = 0.05
    name: str = ""

    def names(self) -> list[str]:
        """Names from the shortest to the one that says most."""
        base, told = f"margin-{self.perturbation}", "-".join(_told(value) for value in self.criterion.values())
        return [base, f"{base}-{told}", f"{base}-{told}-{self.stated_unit}"]

    def build(self, seed: int, ruler: Ruler | None = None, classes: Sequence[int] | None = None) -> SampleMargin:
        """The margin search, of the whole case or of some classes.

        Raises:
            ValueError: if something does not fit.
        """
        criterion = Criterion.build(self.criterion | ({} if classes is None else {"classes": tuple(classes)}))
        perturbation = self.build_set(self.eps, ruler)
        attack = PGD(perturbation, steps=self.steps, objective=criterion.objective(), seed=seed)
        return SampleMargin(
            perturbation, criterion=criterion, attack=attack, challenger=strong_like(attack), rtol=self.rtol
        )


class CertifiedProbe(BaseModel):
    """Certified L2 radii of the smoothed model.

    Attributes:
        sigma: noise, in `unit`.
        unit: "std", standard deviations of each case's own image, or None, the units of the model's input.
        samples, alpha, tau: as in `imaseg.CertifiedMargin`.
        cases: only so many, the first ones; None for all.
        name: in tables.
    """

    model_config = ConfigDict(extra="forbid")

    sigma: Budget = Field(gt=0)
    unit: str | None = Field(None, pattern="^std$")
    samples: int = Field(100, ge=1)
    alpha: Budget = 0.001
    tau: list[Budget] = [0.6, 0.75]
    cases: int | None = Field(None, ge=1)
    name: str = ""

    def model_post_init(self, context: Any, /) -> None:
        """Fill in the name."""
        self.name = self.name or "certified-l2"

    def build(self, seed: int, ruler: Ruler | None = None) -> CertifiedMargin:
        """The certificate.

        Raises:
            ValueError: if a number is out of its range, or samples are too few for a large volume.
        """
        needed = math.ceil(math.log(self.alpha / _LARGEST) / math.log(max(self.tau)))
        if self.samples < needed:  # before an audit starts, since each case would only fail after its attacks
            msg = f"samples of a certificate must be >= {needed} (tau {max(self.tau):g}), got {self.samples}. Use more."
            raise ValueError(msg)
        sigma = self.sigma * (ruler.std if self.unit == "std" and ruler is not None else 1.0)
        return CertifiedMargin(sigma, self.samples, self.alpha, tau=tuple(self.tau), seed=seed)


class VoxelMarginPlan(Part):
    """Margin maps of a few cases.

    Attributes:
        eps: largest change looked at.
        cases: how many, the first ones.
        rungs, focus: effort, as in `imaseg.VoxelMargin`.
    """

    eps: Budget = Field(gt=0)
    cases: int = Field(2, ge=1)
    rungs: int = Field(24, ge=1)
    focus: int = Field(64, ge=0)

    def build(self, seed: int, ruler: Ruler | None = None) -> VoxelMargin:
        """The search.

        Raises:
            ValueError: if something does not fit.
        """
        return VoxelMargin(self.build_set(self.eps, ruler), rungs=self.rungs, focus=self.focus, seed=seed)


class ValidityPlan(BaseModel):
    """How the attacks themselves are checked.

    Attributes:
        cases: number of cases the extra attacks below are run on, the first ones.
        attack: the attack that is checked, its first probe of the plan.
        large_eps: a budget so large that Dice must come near 0.
        scaled_eps: a budget of the ladder at which the attack is repeated on scaled logits, without gradients, on a
            smoothed copy, and with four times the calls.
        converged: Dice that four times the calls may take away at most, mean over the checked cases.
    """

    model_config = ConfigDict(extra="forbid")

    cases: int = Field(3, ge=1)
    attack: str = "pgd"
    large_eps: Budget
    scaled_eps: Budget
    converged: Budget = Field(0.05, gt=0)


class Showcase(BaseModel):
    """Which probe the report shows as pictures."""

    model_config = ConfigDict(extra="forbid")

    attack: str = "pgd"
    eps: Budget


def _told(value: Any) -> str:
    """A value of a criterion as part of a name."""
    if isinstance(value, bool):
        return "relative" if value else "absolute"
    if isinstance(value, list | tuple):
        return "class-" + "-".join(map(str, value))
    return f"{value:g}" if isinstance(value, int | float) else str(value)
