"""What an audit does: probes (attacks over a ladder of eps) and margins, from YAML, checked before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from imaseg.attacks import Attack
from imaseg.auditing.corruption_plan import CorruptionPlan
from imaseg.data.resources import resource
from imaseg.data.yaml_file import read_yaml
from imaseg.errors import InputError
from imaseg.margins import Criterion, SampleMargin, strong_like
from imaseg.objectives import Objective
from imaseg.perturbations import Perturbation

Budget = Annotated[float, Field(allow_inf_nan=False)]
SHIPPED = ("quick", "demo")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")

    perturbation: str = "l2"
    unit: str | None = None

    def build_set(self, eps: float) -> Perturbation:
        """The perturbation set with budget `eps`."""
        spec: dict[str, Any] = {"name": self.perturbation, "eps": eps}
        if self.unit is not None:
            spec["unit"] = self.unit
        return Perturbation.build(spec)


class Probe(_Part):
    """One attack over a ladder of budgets.

    Attributes:
        attack: registered name.
        perturbation: registered name of the set.
        unit: of eps, where the set offers several.
        eps: the ladder.
        objective: what the attack maximises.
        steps, restarts: of the attack; its own default if not given.
        name: in tables; made from the others if not given, unique within a plan.
    """

    attack: str
    eps: list[Budget] = Field(min_length=1)
    objective: str = "dice"
    steps: int | None = Field(None, ge=1)
    restarts: int = Field(1, ge=1)
    name: str = ""

    def model_post_init(self, context: Any, /) -> None:
        """Sort the ladder; fill in the name: attack, set, and the objective where it is not Dice."""
        self.eps = sorted(set(self.eps))
        if not self.name:
            parts = [self.attack, self.perturbation, *([self.objective] if self.objective != "dice" else [])]
            self.name = "-".join(parts)

    def build(self, eps: float, seed: int) -> Attack:
        """The attack at one budget."""
        spec: dict[str, Any] = {"name": self.attack, "restarts": self.restarts}
        if self.steps is not None:
            spec["steps"] = self.steps
        return Attack.build(spec, self.build_set(eps), objective=Objective.build(self.objective), seed=seed)


class MarginProbe(_Part):
    """One sample margin per case.

    Attributes:
        perturbation, unit: as in `Probe`.
        eps: largest budget looked at.
        criterion: registered name and arguments.
        steps: of the PGD inside.
        rtol: relative width of the bracket.
    """

    eps: Budget = Field(gt=0)
    criterion: dict[str, Any] = {"name": "dice-below", "threshold": 0.5}
    steps: int = Field(10, ge=1)
    rtol: Budget = 0.05

    @property
    def name(self) -> str:
        """Name in tables."""
        return f"margin-{self.perturbation}"

    def build(self, seed: int) -> SampleMargin:
        """The margin search."""
        perturbation = self.build_set(self.eps)
        attack = Attack.build({"name": "pgd", "steps": self.steps}, perturbation, seed=seed)
        criterion = Criterion.build(self.criterion)
        return SampleMargin(
            perturbation, criterion=criterion, attack=attack, challenger=strong_like(attack), rtol=self.rtol
        )


class ValidityPlan(BaseModel):
    """How the attacks themselves are checked.

    Attributes:
        cases: number of cases the extra attacks below are run on.
        attack: the attack that is checked, its first probe of the plan.
        large_eps: a budget so large that Dice must come near 0.
        scaled_eps: a budget of the ladder at which the attack is repeated on logits times 0.1 and 10.
    """

    model_config = ConfigDict(extra="forbid")

    cases: int = Field(3, ge=1)
    attack: str = "pgd"
    large_eps: Budget
    scaled_eps: Budget


class Showcase(BaseModel):
    """Which probe the report shows as pictures."""

    model_config = ConfigDict(extra="forbid")

    attack: str = "pgd"
    eps: Budget


class Plan(BaseModel):
    """All that an audit does.

    Attributes:
        name: of the plan.
        probes: attacks and noise over ladders of eps.
        margins: margin searches.
        corruptions: faults of scanners and acquisitions at calibrated severities; None leaves them out.
        validity: checks on the attacks; None leaves them out, and the report says so.
        showcase: the probe shown as pictures.
        seed: of every random number.
    """

    model_config = ConfigDict(extra="forbid")

    name: str
    probes: list[Probe] = Field(min_length=1)
    margins: list[MarginProbe] = []
    corruptions: CorruptionPlan | None = None
    validity: ValidityPlan | None = None
    showcase: Showcase
    seed: int = 0

    def probe(self, attack: str) -> Probe:
        """The first probe with this attack."""
        return next(probe for probe in self.probes if probe.attack == attack)


def load_plan(plan: str | Path | Plan) -> Plan:
    """A shipped plan by name, or one from a YAML file.

    Raises:
        InputError: if there is no such plan, or a key or value is refused.
    """
    if isinstance(plan, Plan):
        return plan
    path = resource(f"configs/plans/{plan}.yaml") if str(plan) in SHIPPED else Path(plan)
    if not path.is_file():
        msg = f"plan must be one of {', '.join(SHIPPED)} or a YAML file, got {str(plan)!r}, which is no file."
        raise InputError(msg)
    try:
        loaded = Plan.model_validate(read_yaml(path))
    except ValidationError as error:
        wrong = error.errors()[0]
        msg = f"{path}: {'.'.join(map(str, wrong['loc'])) or 'plan'} must be valid. {wrong['msg']}."
        raise InputError(msg) from error
    _try(loaded, path)
    return loaded


def _try(plan: Plan, path: Path) -> None:
    """Build every part once, so that a wrong name fails now and not after an hour."""
    try:
        for probe in plan.probes:
            for eps in probe.eps:
                probe.build(eps, plan.seed)
        for margin in plan.margins:
            margin.build(plan.seed)
        if plan.corruptions is not None:
            plan.corruptions.build(plan.seed)
        for eps in (plan.validity.large_eps, plan.validity.scaled_eps) if plan.validity else ():
            plan.probes[0].build(eps, plan.seed)
    except ValueError as error:
        msg = f"{path}: {error}"
        raise InputError(msg) from error
    _check_names(plan, path)


def _check_names(plan: Plan, path: Path) -> None:
    """Names are unique, and what refers to a probe finds it."""
    names = [probe.name for probe in plan.probes]
    for name in names:
        if names.count(name) > 1:
            msg = f"{path}: probes must have different names, got {name!r} twice. Give one of them a `name`."
            raise InputError(msg)
    attacks = [probe.attack for probe in plan.probes]
    wanted = {"showcase": plan.showcase.attack} | ({"validity": plan.validity.attack} if plan.validity else {})
    for key, attack in wanted.items():
        if attack not in attacks:
            msg = f"{path}: {key}.attack must be one of the plan's probes ({', '.join(attacks)}), got {attack!r}."
            raise InputError(msg)
    ladder = plan.probe(plan.showcase.attack).eps
    if plan.showcase.eps not in ladder:
        msg = f"{path}: showcase.eps must be one of its probe's {ladder}, got {plan.showcase.eps}."
        raise InputError(msg)
