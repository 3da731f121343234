"""What an audit will cost, before it starts: cases x calls x measured seconds, for each part of the plan."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from imaseg.attacks import PGD
from imaseg.auditing.case import CHECKS, VOXELS, CaseAudit
from imaseg.auditing.case_certified import DRAWS, STEPS, VOTES
from imaseg.auditing.case_checks import BLACK_BOX_STEPS, COPY_DRAWS, LONGER, REPEATED, strongest
from imaseg.auditing.plan import Plan
from imaseg.auditing.plan_probes import Part, Probe
from imaseg.auditing.sharing import shared
from imaseg.auditing.subject import Subject
from imaseg.data import Case
from imaseg.errors import InputError
from imaseg.models.device import seconds_per_pass
from imaseg.progress import duration

_BESIDES = 8
"""Lengths of a margin's attack spent outside of halving: first look, drawing back, challenges."""
_GROUP = 14
"""Calls per group of voxels that are attacked by themselves."""
_TOGETHER = 8
"""Groups in one call."""
_CONFIRM = 60
"""Calls that ask whether a margin stands."""
_TRIAL = 2
CORRUPTIONS = "corruptions"


@dataclass(frozen=True)
class Cost:
    """One part of a plan.

    Attributes:
        name: as `CaseAudit.run` tells it.
        perturbation: whose changes it makes, where these cost time of their own.
        gradients: calls of the model with a gradient, per case.
        forwards: calls without.
        scored: predictions that metrics are taken of.
        first: only so many cases; None for all.
    """

    name: str
    perturbation: Part | None
    gradients: int
    forwards: int = 0
    scored: int = 0
    first: int | None = None

    @property
    def calls(self) -> int:
        """Of the model, of both kinds."""
        return self.gradients + self.forwards


@dataclass(frozen=True)
class Seconds:
    """Measured on one case.

    Attributes:
        forward: a call without gradient.
        gradient: a call with, by perturbation set.
        scoring: metrics of one prediction.
        reading: the case itself.
        case: its id.
    """

    forward: float
    gradient: dict[str, float]
    scoring: float
    reading: float
    case: str

    def of(self, part: Cost) -> float:
        """Of one case."""
        kind = part.perturbation.perturbation if part.perturbation is not None else "l2"
        slow = self.gradient.get(kind, self.gradient["l2"])
        return part.gradients * slow + part.forwards * self.forward + part.scored * self.scoring


def costs(plan: Plan, classes: int) -> list[Cost]:
    """Every part of a plan with the calls it takes; searches that succeed early take fewer."""
    found = [_probe(probe, plan.seed) for probe in plan.probes]
    for margin in plan.margins:
        searches = 1 + (classes if margin.per_class else 0)
        calls = margin.steps * (math.ceil(math.log2(1 / margin.rtol)) + _BESIDES)
        found.append(Cost(margin.name, margin, calls * searches))
    if plan.corruptions is not None:
        found.append(Cost(CORRUPTIONS, None, 0, plan.corruptions.images, plan.corruptions.images))
    for certify in plan.certified:
        settings = certify.build(plan.seed)
        found.append(Cost(certify.name, None, 0, settings.samples + settings.selection, first=certify.cases))
    if plan.voxel_margins is not None:
        voxels = plan.voxel_margins
        sweep = voxels.rungs * voxels.build(plan.seed).attack.steps
        groups = math.ceil(voxels.focus / _TOGETHER) * _TOGETHER * _GROUP
        found.append(Cost(VOXELS, voxels, sweep + groups, first=voxels.cases))
    return [*found, *_checks(plan)]


def _probe(probe: Probe, seed: int) -> Cost:
    attack, rungs = probe.build(probe.eps[-1], seed), len(probe.eps)
    calls = attack.steps * attack.restarts * rungs
    if not probe.uses_gradients:
        return Cost(probe.name, probe, 0, calls + 3 * rungs, rungs)
    return Cost(probe.name, probe, calls, 3 * rungs, rungs)


def _checks(plan: Plan) -> Iterator[Cost]:
    if plan.validity is None:
        return
    probe, longest = plan.probe(plan.validity.attack), strongest(plan)
    checked, strong = (one.build(one.eps[-1], plan.seed) for one in (probe, longest))
    steps = checked.steps * checked.restarts
    gradients = steps * (4 + COPY_DRAWS * 2) + strong.steps * strong.restarts * LONGER * REPEATED
    gradients += _CONFIRM * len(plan.margins)
    forwards = BLACK_BOX_STEPS
    for _ in plan.certified:
        gradients, forwards = gradients + STEPS * DRAWS * 2, forwards + VOTES
    yield Cost(CHECKS, probe, gradients, forwards, first=plan.validity.cases)


def measure(subject: Subject, plan: Plan) -> Seconds | None:
    """Time calls on the first case that can be read and fits into memory; None if there is none."""
    for case in subject.cases:
        with contextlib.suppress(InputError, RuntimeError, ValueError, MemoryError):  # it will fail by itself, later
            return _measured(subject, case, plan)
    return None


def _measured(subject: Subject, case: Case, plan: Plan) -> Seconds:
    model, clock = subject.model, time.perf_counter
    begin = clock()
    volume, scale = subject.source.read(case)
    audit = CaseAudit(model, volume, plan, native_scale=scale)
    reading = clock() - begin
    slow = {"l2": seconds_per_pass(model, audit.image)}
    begin = clock()
    with torch.no_grad():
        float(model(audit.image).sum())
    forward = clock() - begin
    begin = clock()
    audit.look()
    scoring = max(0.0, clock() - begin - forward)
    for part in (*plan.probes, *plan.margins):
        if part.perturbation not in (*slow, "linf"):
            small = part.build_set(1e-3, audit.ruler)
            begin = clock()
            PGD(small, steps=_TRIAL)(model, audit.image, audit.label)
            slow[part.perturbation] = max(0.0, clock() - begin - 2 * forward) / _TRIAL
    return Seconds(forward, slow, scoring, reading, case.id)


def announcement(
    head: str, subject: Subject, plan: Plan, parts: Sequence[Cost], left: Sequence[int], *, processes: int = 1
) -> str:
    """The whole cost in a sentence, and a table of it by part; empty if no case can be read.

    Args:
        head: how the sentence begins.
        subject: model and cases.
        plan: of the audit.
        parts: of the plan.
        left: places of the cases that are still to be done.
        processes: that share them.
    """
    seconds = measure(subject, plan)
    if seconds is None:
        return ""
    rows, total = [("part", "cases", "calls per case", "time")], seconds.reading * len(left)
    for part in parts:
        number = sum(part.first is None or place < part.first for place in left)
        spent = number * seconds.of(part)
        total += spent
        rows.append((part.name, str(number), str(part.calls), duration(spent)))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    table = [
        "  "
        + row[0].ljust(widths[0])
        + "".join(f"  {cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
        for row in rows
    ]
    done = f", {len(left)} of them left" if len(left) < len(subject.cases) else ""
    measured = (
        f"{seconds.gradient['l2']:.3g} s a call with gradient, {seconds.forward:.3g} s without, "
        f"{seconds.scoring:.3g} s to score one, measured on {seconds.case}"
    )
    return "\n".join([f"{head}{done}: about {duration(total)}{shared(processes)} ({measured}).", *table])
