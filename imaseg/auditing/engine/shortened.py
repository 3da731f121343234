"""A plan cut to fit a time: probes in the order of their worth, as long as what they are expected to take fits.

The attack that is checked and shown comes first, then its checks (on fewer cases if need be), `strong`, margins,
corruptions, other attacks, and what is asked of voxels and of smoothed models. Expected times are those that are
announced: searches that break cases early take less.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any

from pydantic import ValidationError

from imaseg.auditing.engine.cost import Seconds, costs, measure
from imaseg.auditing.engine.identity import hash_json
from imaseg.auditing.inputs.subject import Subject
from imaseg.auditing.plan import Plan
from imaseg.auditing.probes import AttackProbe, CorruptionProbe, MarginProbe, Probe, UniversalProbe
from imaseg.auditing.validity.case import strongest
from imaseg.auditing.validity.gate import MARGIN, Gate
from imaseg.errors import InputError
from imaseg.progress import duration
from imaseg.ranks import world
from imaseg.results.run import Shortened

_FORM = re.compile(r"(?:(\d+(?:\.\d+)?)\s*h)?\s*(?:(\d+(?:\.\d+)?)\s*m(?:in)?)?\s*(?:(\d+(?:\.\d+)?)\s*s)?")


def seconds_in(text: str) -> float:
    """A time as people write it.

    >>> seconds_in("2h"), seconds_in("1h 30m"), seconds_in("45 min")
    (7200.0, 5400.0, 2700.0)

    Raises:
        InputError: if it is none.
    """
    form = _FORM.fullmatch(text.strip())
    total = sum(float(part or 0) * size for part, size in zip(form.groups(), (3600, 60, 1), strict=True)) if form else 0
    if total <= 0:
        msg = f"budget must be a time above 0, got {text[:40]!r}. Write 2h, 90min or 1h 30m."
        raise InputError(msg)
    return total


def shorten(
    subject: Subject, plan: Plan, seconds: float, *, gates: Sequence[Gate] = (), before: Mapping[str, Any] | None = None
) -> tuple[Plan, Seconds | None]:
    """The plan with as many of its probes as fit into so many seconds, itself if all do; and what was measured.

    Args:
        subject: model and cases, for measuring.
        plan: what is asked for.
        seconds: that the audit may take.
        gates: which must not lose what they are judged by.
        before: plan of the audit that is resumed; taken if it was cut from this one for this time, so that another
            measurement changes nothing.

    Raises:
        InputError: if the first probe does not fit, a gate loses one, or nothing can be measured.
    """
    whole = hash_json(plan.model_dump(mode="json"))
    if before is not None and hash_json(before) == whole:
        return plan, None
    kept = _read(before)
    if (
        kept is not None
        and kept.shortened is not None
        and (kept.shortened.whole_sha256, kept.shortened.seconds) == (whole, seconds)
    ):
        return kept, None
    measured = measure(subject, plan)
    if measured is None:
        msg = "--budget must go with a case that can be timed, got none that can be read. Leave it out to see why."
        raise InputError(msg)
    cases, classes = len(subject.cases), len(subject.model.card.structures)

    def takes(probes: Sequence[Probe], checked: int) -> float:
        parts = costs(_with(plan, probes, checked), classes, cases, half=subject.precision.half)
        calls = sum(sum(map(part.covers, range(cases))) * measured.of(part) for part in parts)
        return (measured.reading * cases + calls) / world()

    fitting, checked = _fitting(plan, seconds, takes)
    left_out = [probe.name for probe in plan.probes if probe not in fitting]
    fewer = plan.validity is not None and checked < plan.validity.cases
    if not left_out and not fewer:
        return plan, measured
    _spare_gates(gates, [probe for probe in plan.probes if probe not in fitting], plan.seed)
    cut = Shortened(seconds=seconds, left_out=left_out, checked=checked if fewer else None, whole_sha256=whole)
    return _with(plan, fitting, checked).model_copy(update={"shortened": cut}), measured


def _read(before: Mapping[str, Any] | None) -> Plan | None:
    """The plan of an earlier audit; None if there is none, or another version or plugin wrote it."""
    try:
        return None if before is None else Plan.model_validate(before)
    except ValidationError:
        return None  # it is refused where the folder is claimed


def _fitting(plan: Plan, seconds: float, takes: Callable[[Sequence[Probe], int], float]) -> tuple[list[Probe], int]:
    """Probes that fit, in the order of the plan, and on how many cases the attacks are checked."""
    order = sorted(plan.probes, key=partial(_worth, plan))
    kept = [probe for probe in order if _worth(plan, probe) == 0] or order[:1]
    if (least := takes(kept, 0)) > seconds:
        msg = (
            f"--budget must be at least about {duration(least)} for {', '.join(probe.name for probe in kept)} alone, "
            f"got {duration(seconds)}. Give it more, or take fewer cases (--cases)."
        )
        raise InputError(msg)
    wanted = plan.validity.cases if plan.validity is not None else 0
    checked = min(1, wanted) if takes(kept, min(1, wanted)) <= seconds else 0
    for probe in order:
        if probe not in kept and takes([*kept, probe], checked) <= seconds:
            kept.append(probe)
    while 0 < checked < wanted and takes(kept, checked + 1) <= seconds:
        checked += 1
    return [probe for probe in plan.probes if probe in kept], checked


def _worth(plan: Plan, probe: Probe) -> int:
    """Place in the order; 0 for what the page and the checks rest on."""
    parts = [part for part in (plan.validity, plan.showcase) if part is not None]
    if any(probe is plan.attack(part.attack) for part in parts):
        return 0
    if isinstance(probe, AttackProbe):
        if probe.is_noise:
            return 2  # next to no time, and what attacks are held against
        return 1 if plan.attacks and probe is strongest(plan) else 5
    if isinstance(probe, MarginProbe):
        return 3 if probe is plan.of(MarginProbe)[0] else 6
    return 4 if isinstance(probe, CorruptionProbe) else 7


def _with(plan: Plan, probes: Sequence[Probe], checked: int) -> Plan:
    """The plan with these probes and so many checked cases."""
    validity = plan.validity.model_copy(update={"cases": checked}) if plan.validity is not None and checked else None
    return plan.model_copy(update={"probes": [*probes], "validity": validity})


def _judges(gate: Gate, probe: Probe, seed: int) -> bool:
    """Whether what a probe measures is among what a gate is judged by."""
    if (gate.metric == MARGIN) != isinstance(probe, MarginProbe):
        return False
    if isinstance(probe, MarginProbe):
        return gate.name in (probe.name, probe.in_set)
    if isinstance(probe, CorruptionProbe):
        return gate.eps in probe.severities and gate.name in {one.name for one in probe.build(seed)}
    if not isinstance(probe, AttackProbe | UniversalProbe) or gate.eps not in probe.eps:
        return False
    in_set = isinstance(probe, AttackProbe) and not probe.is_noise and gate.name == probe.in_set
    return in_set or gate.name == probe.name


def _spare_gates(gates: Sequence[Gate], lost: Sequence[Probe], seed: int) -> None:
    """Refuse to judge a gate by less than it asks for.

    Raises:
        InputError: naming the gate.
    """
    for gate, probe in product(gates, lost):
        if _judges(gate, probe, seed):
            msg = (
                f"--budget must leave what --fail-below is judged by, got {gate.text!r} without {probe.name}. Give it "
                "more time, or drop the gate."
            )
            raise InputError(msg)
