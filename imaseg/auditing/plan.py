"""What an audit does, from YAML, checked before anything runs: a list of probes and a few settings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, Field, model_validator

from imaseg.attacks import Attack
from imaseg.auditing.inputs.budget import Eps
from imaseg.auditing.inputs.reference import Reference, parse_reference
from imaseg.auditing.metrics.instances import AnyInstances, Instances
from imaseg.auditing.probes import AnyProbe, AttackProbe, Probe
from imaseg.data.resources import resource
from imaseg.data.yaml_file import read_yaml
from imaseg.errors import InputError, did_you_mean
from imaseg.plugins import import_trusted
from imaseg.results.run import Shortened
from imaseg.results.summary import Shown
from imaseg.validated import validated

SHIPPED = ("quick", "standard", "thorough")
DEMO = "demo"
"""The plan of `imaseg demo`, which is not meant for other data."""
_SECTIONS = {
    "margins": "margin",
    "corruptions": "corruption",
    "certified": "certificate",
    "voxel_margins": "voxel-margin",
}
"""Sections of a plan that are another way to write probes of one kind."""
_Probe = TypeVar("_Probe", bound=Probe)


class ValidityPlan(BaseModel, extra="forbid"):
    """How the attacks themselves are checked.

    Attributes:
        cases: number of cases the extra attacks below are run on, the first ones.
        attack: the attack that is checked, its first probe of the plan; of plans without PGD the first search, unless
            another is named.
        large_eps: a budget so large that Dice must come near 0.
        scaled_eps: a budget of the ladder at which the attack is repeated on scaled logits, without gradients, on a
            smoothed copy, and with four times the calls.
        converged: Dice that four times the calls may take away at most, mean over the checked cases.
    """

    cases: int = Field(3, ge=1)
    attack: str = "pgd"
    large_eps: Eps
    scaled_eps: Eps
    converged: Eps = Field(0.05, gt=0)


class Showcase(BaseModel, extra="forbid"):
    """Which attack the report shows as pictures, and at which budget.

    Attributes:
        attack: the attack, its first probe of the plan; of plans without PGD the first search, unless another is named.
        eps: a budget of its ladder.
    """

    attack: str = "pgd"
    eps: Eps


class Plan(BaseModel, extra="forbid"):
    """All that an audit does.

    Attributes:
        name: name of the plan, for pages and tables.
        probes: questions asked of every case, told apart by `kind` ("attack" if not given). The sections `margins`,
            `certified`, `voxel_margins` and `corruptions` are another way to write probes of these kinds.
        validity: checks on the attacks; None leaves out those that need attacks of their own, and the report says so.
        showcase: the attack shown as pictures; None for no pictures.
        reference: what predictions are compared with: `label`; or `prediction`, the model's own of the unchanged image,
            which needs no labels and says how stable predictions are, not how right.
        instances: structures such as lesions that are counted instance by instance, as a list of their numbers, or with
            settings; None for none.
        verify: whether the first case is predicted once more by the model's own software, where it has one, to compare.
        imports: Python files, relative to the plan, that define further probes, attacks, sets or corruptions; they are
            run, which takes `trust`.
        seed: seed of every random number.
        shortened: what `--budget` left out; it is written by that option alone.
    """

    name: str
    imports: list[str] = []
    probes: list[AnyProbe] = Field(min_length=1, max_length=1000)
    validity: ValidityPlan | None = None
    showcase: Showcase | None = None
    reference: Reference = "label"
    instances: AnyInstances | None = None
    verify: bool = True
    seed: int = Field(0, ge=0, lt=2**32)
    shortened: Shortened | None = None

    @model_validator(mode="before")
    @classmethod
    def _sections(cls, content: Any) -> Any:
        """Probes of the sections by kind, after those of `probes`; what is shown and checked where nobody says."""
        return _with_attacks(_merged(content)[0]) if isinstance(content, dict) else content

    def model_post_init(self, context: Any, /) -> None:
        """Name the probes, as short as tells them apart."""
        try:
            choices = [[probe.name] * 3 if probe.name else (probe.names() * 3)[:3] for probe in self.probes]
        except ValueError:
            return  # a set that does not exist is named when the plan is tried
        for probe, names in zip(self.probes, choices, strict=True):
            alike = [sum(other[level] == names[level] for other in choices) for level in range(3)]
            probe.name = next((name for name, count in zip(names, alike, strict=True) if count == 1), names[-1])

    def against(self, reference: str | None) -> Plan:
        """The same plan with another reference; itself for None.

        Raises:
            InputError: if that is neither "label" nor "prediction".
        """
        return self if reference is None else self.model_copy(update={"reference": parse_reference(reference)})

    def of(self, kind: type[_Probe]) -> list[_Probe]:
        """The probes of one kind."""
        return [probe for probe in self.probes if isinstance(probe, kind)]

    @property
    def attacks(self) -> list[AttackProbe]:
        """Attacks and noise."""
        return self.of(AttackProbe)

    def attack(self, name: str) -> AttackProbe:
        """The first probe with this attack."""
        return next(probe for probe in self.attacks if probe.attack == name)

    def averaged(self, samples: int) -> Plan:
        """The same with so many draws in every probe that can average over draws and names no number."""
        probes = [
            probe.model_copy(update={"samples": samples}) if getattr(probe, "samples", samples) is None else probe
            for probe in self.probes
        ]
        return self.model_copy(update={"probes": probes})

    def counting(self, classes: Sequence[int]) -> Plan:
        """The same with these structures counted instance by instance, by the plan's own settings if it has some."""
        own = self.instances.model_dump() if self.instances else {}
        return self.model_copy(update={"instances": Instances.model_validate({**own, "classes": [*classes]})})

    def transferred(self) -> Plan:
        """The same with every attack once more, made on another model; as it is if it says itself which are."""
        if any(probe.transferred for probe in self.attacks):
            return self
        changes = {"transferred": True, "write": None, "name": ""}
        more = [probe.model_copy(update=changes) for probe in self.attacks if not probe.is_noise]
        content = self.model_dump() | {"probes": [probe.model_dump() for probe in (*self.probes, *more)]}
        return type(self).model_validate(content)

    @property
    def shown(self) -> Shown | None:
        """The probe that is shown as pictures, and the budget."""
        if self.showcase is None:
            return None
        probe = self.attack(self.showcase.attack)
        return Shown(probe=probe.name, eps=self.showcase.eps, unit=probe.stated_unit)


def load_plan(plan: str | Path | Plan, *, trust: bool = False) -> Plan:
    """A shipped plan by name, or one from a YAML file.

    Args:
        plan: name, path, or a plan, which is returned as it is.
        trust: whether Python files that the plan imports may be run.

    Raises:
        InputError: if there is no such plan, a key or value is refused, or it imports files without trust.
    """
    if isinstance(plan, Plan):
        return plan
    path = resource(f"configs/plans/{plan}.yaml") if str(plan) in (*SHIPPED, DEMO) else Path(plan)
    if not path.is_file():
        msg = f"plan must be one of {', '.join(SHIPPED)} or a YAML file, got {str(plan)!r}, which is no file."
        raise InputError(msg + did_you_mean(plan, SHIPPED))
    content = read_yaml(path)
    if isinstance(files := content.get("imports"), list):
        import_trusted((path.parent / str(file) for file in files), trust=trust, source=f"{path}: ")
    return checked_plan(content, str(path))


def checked_plan(content: dict[str, Any], where: str) -> Plan:
    """A plan whose every part was built once, so that a wrong name fails now and not after an hour.

    Args:
        content: of the plan, as its file holds it.
        where: it comes from, for messages.

    Raises:
        InputError: if a key, value, name or number is refused.
    """
    merged, written = _merged(content)
    plan = validated(Plan, merged, source=where, written=written)
    try:
        for probe in plan.probes:
            probe.check(plan.seed)
        if mistake := next(_mistakes(plan), None):
            raise ValueError(mistake)
        for eps in (plan.validity.large_eps, plan.validity.scaled_eps) if plan.validity else ():
            plan.attack(plan.validity.attack).build(eps, plan.seed)  # type: ignore[union-attr]
    except ValueError as error:
        msg = f"{where}: {error}"
        raise InputError(msg) from error
    return plan


def _mistakes(plan: Plan) -> Iterator[str]:
    """Names and folders that are not unique, and what refers to an attack that there is not."""
    names = [probe.name for probe in plan.probes]
    if twice := _repeated(names):
        yield f"probes must have different names, got {twice!r} twice. Give one of them a `name`."
    if taken := next((name for name in names if name == "clean" or name.startswith("worst-case-")), None):
        yield f"name of a probe must not be clean or worst-case-..., which results use themselves, got {taken!r}."
    if twice := _repeated([folder for probe in plan.probes for folder in probe.folders()]):
        yield f"probes must write to different folders, got {twice} twice. Leave `write` out of one of them."
    attacks = [probe.attack for probe in plan.attacks]
    for key, part in (("showcase", plan.showcase), ("validity", plan.validity)):
        if part is not None and part.attack not in attacks:
            yield (
                f"{key}.attack must be one of the plan's probes ({', '.join(attacks)}), got {part.attack!r}."
                + did_you_mean(part.attack, attacks)
            )
    if plan.validity is not None and plan.attack(plan.validity.attack).is_noise:
        got = plan.validity.attack
        yield f"validity.attack must be a search, since noise is none, got {got!r}. Name another probe."
    if plan.showcase is not None and plan.showcase.eps not in (ladder := plan.attack(plan.showcase.attack).eps):
        yield f"showcase.eps must be one of its probe's {ladder}, got {plan.showcase.eps}."


def _merged(content: dict[str, Any]) -> tuple[dict[str, Any], dict[tuple[Any, ...], str]]:
    """A plan with its sections among its probes, and where each of those was written, by its place there."""
    content, given = dict(content), content.get("probes")
    probes = list(given) if isinstance(given, list) else []
    written: dict[tuple[Any, ...], str] = {}
    for section, kind in _SECTIONS.items():
        whole = content.pop(section, None)
        for place, entry in enumerate(_listed(kind, whole)):
            apart = isinstance(whole, list) and kind != "corruption"
            written["probes", len(probes)] = f"{section}.{place}" if apart else section
            probes.append(_probe(kind, entry))
    return content | {"probes": probes if given is None or isinstance(given, list) else given}, written


def _with_attacks(content: dict[str, Any]) -> dict[str, Any]:
    """A plan without PGD shows and checks its first search where `attack` is left out."""
    given = content["probes"]
    probes = [probe for probe in given if isinstance(probe, dict)] if isinstance(given, list) else []
    names = [probe.get("attack") for probe in probes if probe.get("kind", "attack") == "attack"]
    searches = [name for name in names if isinstance(name, str) and not _is_noise(name)]
    if not searches or "pgd" in searches:
        return content
    parts = {key: content.get(key) for key in ("showcase", "validity")}
    left_out = {key: part for key, part in parts.items() if isinstance(part, dict) and "attack" not in part}
    return content | {key: part | {"attack": searches[0]} for key, part in left_out.items()}


def _is_noise(attack: str) -> bool:
    """Whether it draws at random; one that does not exist is named when the plan is tried."""
    try:
        return Attack.about(attack).is_noise
    except ValueError:
        return False


def _listed(kind: str, given: Any) -> list[Any]:
    """What a section holds, as a list of probes."""
    if given is None:
        return []
    if kind == "corruption":
        return [given if isinstance(given, dict) else {"corruptions": given}]
    return given if isinstance(given, list) else [given]


def _repeated(names: Sequence[str]) -> str | None:
    return next((name for name, times in Counter(names).items() if times > 1), None)


def _probe(kind: str, entry: Any) -> Any:
    """An entry of a section as a probe."""
    if kind == "corruption":
        entry = dict(entry) if isinstance(entry, dict) else {"corruptions": entry}
        if "names" in entry and "corruptions" not in entry:
            entry["corruptions"] = entry.pop("names")
    return {"kind": kind, **entry} if isinstance(entry, dict) else entry
