"""`imaseg attack` and `imaseg margin` as plans: what their options ask for, in the probes of one plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from imaseg.auditing.plan import Plan, checked_plan
from imaseg.auditing.probes.voxel_margin import Method
from imaseg.errors import InputError
from imaseg.perturbations import Perturbation

USUAL = ("l2", "linf", "bias-field", "gamma", "deformation")
MAPPED = ("l2", "linf")
"""Sets that voxel maps are made of where nobody says: a map takes minutes."""
METHODS: tuple[Method, ...] = ("attack", "gradient")
UNIVERSAL = "universal"
"""Stands for an attack that finds one perturbation for all cases."""
_NUMBERS: dict[str, dict[str, Any]] = {
    "dice-below": {"threshold": 0.5, "relative": False},
    "voxels-flipped": {"fraction": 0.1},
}
"""Criteria that can be asked of single structures, with their usual numbers."""
_RUNGS = 36
_GROUPS = 16


def attack_plan(
    attack: str,
    perturbation: str,
    eps: float,
    *,
    unit: str | None = None,
    within: str | None = None,
    transferred: bool = False,
    steps: int | None = None,
    objective: str | None = None,
    restarts: int | None = None,
    seed: int = 0,
) -> Plan:
    """One attack at one budget, written as NIfTI files; `UNIVERSAL` is one perturbation for all cases, and no files.

    Args:
        attack: registered name or preset.
        perturbation: registered name of the set.
        eps: budget in `unit`.
        unit: as in a plan.
        within: distance from a structure, such as "20 mm", within which alone may change; None for the whole image.
        transferred: whether it is made on another model.
        steps: of the attack; its own or the preset's if None, like the next two.
        objective: that it maximises.
        restarts: of the search.
        seed: of every random number.

    Raises:
        InputError: if a name is unknown, or settings do not fit together.
    """
    if attack == UNIVERSAL:
        if transferred:
            msg = "a universal attack must be made on the audited model, got another one (--from). Leave --from out."
            raise InputError(msg)
        if restarts is not None:
            msg = f"restarts must be left out of a universal attack, got {restarts}. Take more steps instead."
            raise InputError(msg)
        return _universal_plan(perturbation, eps, unit=unit, within=within, steps=steps, objective=objective, seed=seed)
    probe: dict[str, Any] = {"attack": attack, "perturbation": perturbation, "eps": [eps], "unit": unit}
    probe |= {"within": within, "transferred": transferred}
    probe |= {"write": "nifti", "steps": steps, "objective": objective, "restarts": restarts}
    content = {"name": "attack", "probes": [probe], "showcase": {"attack": attack, "eps": eps}, "seed": seed}
    return checked_plan(content, "attack")


def _universal_plan(perturbation: str, eps: float, *, seed: int, **given: Any) -> Plan:
    probe = {"kind": UNIVERSAL, "perturbation": perturbation, "eps": [eps]}
    probe |= {key: value for key, value in given.items() if value is not None}
    return checked_plan({"name": "attack", "probes": [probe], "seed": seed}, "attack")


@dataclass(frozen=True)
class Ceiling:
    """A perturbation set and the largest budget looked at."""

    perturbation: str
    eps: float
    unit: str | None

    @classmethod
    def parse(cls, text: str) -> Ceiling:
        """From NAME, NAME:EPS or NAME:EPS:UNIT.

        >>> Ceiling.parse("l2"), Ceiling.parse("linf:20:native").eps
        (Ceiling(perturbation='l2', eps=0.4, unit='rms'), 20.0)

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
        return cls(name, eps, given[1] if len(given) > 1 else kind.usual_unit)


def budget_of(text: str, eps: float | None, unit: str | None) -> tuple[str, float, str | None]:
    """Set, budget and unit of an attack, of NAME, NAME:EPS or NAME:EPS:UNIT; what it lacks is given beside it.

    >>> budget_of("linf:20:native", None, None), budget_of("l2", 0.1, "rms")
    (('linf', 20.0, 'native'), ('l2', 0.1, 'rms'))

    Raises:
        InputError: if there is no budget, something is given twice, or it is something else.
    """
    name, *given = text.split(":")
    try:
        budget = float(given[0]) if given else eps
    except ValueError:
        budget = None
    twice = [
        option for option, said, held in (("--eps", eps, 0), ("--unit", unit, 1)) if said is not None and given[held:]
    ]
    if budget is None or len(given) > 2 or twice:
        got = f"{text!r} next to {twice[0]}" if twice else repr(text)
        msg = f"perturbation must be NAME:EPS or NAME:EPS:UNIT, or NAME next to --eps, got {got}. Write {name}:0.1."
        raise InputError(msg)
    return name, budget, given[1] if len(given) > 1 else unit


def margin_plan(
    sets: Sequence[str] | None,
    *,
    criterion: dict[str, Any],
    within: str | None = None,
    steps: int = 20,
    rtol: float = 0.05,
    methods: Sequence[Method] = (),
    focus: int = 1000,
    certify: float | None = None,
    samples: int = 100,
    alpha: float = 0.001,
    seed: int = 0,
) -> Plan:
    """Margins of cases and structures on several sets, each challenged; on request maps and certificates.

    Args:
        sets: NAME, NAME:EPS or NAME:EPS:UNIT, each set once; `USUAL` if None.
        criterion: registered name and arguments.
        within: as in `attack_plan`; certificates are of the whole image.
        steps: of each attack inside.
        rtol: relative width of a margin's bracket.
        methods: of voxel margins, of `METHODS`; none for no maps. They are made of `sets`, or of `MAPPED` if None.
        focus: groups of voxels per map that are attacked one by one.
        certify: noise of the smoothed model in units of the model's input; None for no certificates.
        samples: noisy copies of a certificate.
        alpha: chance of a wrong one.
        seed: of every random number.

    Raises:
        InputError: if something does not fit together.
    """
    ceilings = [Ceiling.parse(text) for text in sets or USUAL]
    names = [ceiling.perturbation for ceiling in ceilings]
    if twice := next((name for name in names if names.count(name) > 1), None):
        msg = f"perturbations must be different sets, got {twice} twice."
        raise InputError(msg)
    margin = {"criterion": criterion, "per_class": True, "steps": steps, "rtol": rtol, "confirm": True, "write": "csv"}
    voxel = {"cases": None, "methods": list(methods), "rungs": _RUNGS, "focus": focus, "write": "nifti"}
    probes: list[dict[str, Any]] = []
    for ceiling in ceilings:
        asked = {**vars(ceiling), "within": within}
        probes.append({"kind": "margin", **asked, **margin})
        if methods and ceiling.perturbation in (names if sets else MAPPED):
            probes.append({"kind": "voxel-margin", **asked, **voxel})
    if certify is not None:
        l2 = next((c.eps for c in ceilings if (c.perturbation, c.unit) == ("l2", "rms")), None)
        attacked = {"attack": l2 if "attack" in methods else None, "groups": min(focus, _GROUPS)}
        noise = {"sigma": certify, "samples": samples, "alpha": alpha, "tau": [0.75], "write": "nifti"}
        probes.append({"kind": "certificate", **noise, **attacked})
    return checked_plan({"name": "margin", "probes": probes, "seed": seed}, "margin")


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


def voxel_methods(method: str | None, *, wanted: bool) -> tuple[Method, ...]:
    """Methods of voxel margins as the command line takes them.

    Raises:
        InputError: if there is no such method, or one is named though no voxel margins are wanted.
    """
    if method is not None and (method not in (*METHODS, "both") or not wanted):
        msg = f"method must be attack, gradient or both, next to --voxel, got {method!r}."
        raise InputError(msg)
    if not wanted:
        return ()
    return METHODS if method in (None, "both") else (cast("Method", method),)
