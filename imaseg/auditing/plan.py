"""What an audit does, from YAML, checked before anything runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from imaseg.auditing.corruption_plan import CorruptionPlan
from imaseg.auditing.plan_probes import CertifiedProbe, MarginProbe, Probe, Showcase, ValidityPlan, VoxelMarginPlan
from imaseg.data.resources import resource
from imaseg.data.yaml_file import read_yaml
from imaseg.errors import InputError

SHIPPED = ("quick", "standard", "thorough", "demo")


class Plan(BaseModel):
    """All that an audit does.

    Attributes:
        name: of the plan.
        probes: attacks and noise over ladders of eps.
        margins: margin searches.
        certified: certified radii.
        voxel_margins: margin maps of a few cases; None for none.
        corruptions: faults of scanners and acquisitions at calibrated severities; None leaves them out.
        validity: checks on the attacks; None leaves out those that need attacks of their own, and the report says so.
        showcase: the probe shown as pictures.
        seed: of every random number.
    """

    model_config = ConfigDict(extra="forbid")

    name: str
    probes: list[Probe] = Field(min_length=1)
    margins: list[MarginProbe] = []
    certified: list[CertifiedProbe] = []
    voxel_margins: VoxelMarginPlan | None = None
    corruptions: CorruptionPlan | None = None
    validity: ValidityPlan | None = None
    showcase: Showcase
    seed: int = 0

    def model_post_init(self, context: Any, /) -> None:
        """Name the margins: as short as tells them apart."""
        try:
            choices = [[margin.name] * 3 if margin.name else margin.names() for margin in self.margins]
        except ValueError:
            return  # a set that does not exist is named when the plan is tried
        for margin, names in zip(self.margins, choices, strict=True):
            alike = [sum(other[level] == names[level] for other in choices) for level in range(3)]
            margin.name = next((name for name, count in zip(names, alike, strict=True) if count == 1), names[-1])

    def probe(self, attack: str) -> Probe:
        """The first probe with this attack."""
        return next(probe for probe in self.probes if probe.attack == attack)

    def names(self) -> Iterator[str]:
        """Of every probe, margin and certificate."""
        yield from (probe.name for probe in self.probes)
        yield from (margin.name for margin in self.margins)
        yield from (certify.name for certify in self.certified)


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
        for certify in plan.certified:
            certify.build(plan.seed)
        if plan.voxel_margins is not None:
            plan.voxel_margins.build(plan.seed)
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
    names = list(plan.names())
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
