"""What an audit will cost, before it starts: cases x calls x measured seconds, for each part of the plan."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from imaseg.attacks import PGD
from imaseg.auditing.inputs.budget import Budgeted
from imaseg.auditing.inputs.subject import Subject
from imaseg.auditing.plan import Plan
from imaseg.auditing.probes import Cost
from imaseg.auditing.probes.scene import Scene
from imaseg.auditing.table import plain
from imaseg.auditing.validity.case import checks_cost
from imaseg.data import Case
from imaseg.models.device import seconds_per_pass
from imaseg.progress import duration

_TRIAL = 2


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
        slow = self.gradient.get(part.perturbation, self.gradient["l2"])
        return part.gradients * slow + part.forwards * self.forward + part.scored * self.scoring


def costs(plan: Plan, classes: int, cases: int = 1) -> list[Cost]:
    """Every part of a plan with the calls it takes; searches that succeed early take fewer."""
    first = [part for probe in plan.probes if (part := probe.once(cases)) is not None]
    return [*first, *(probe.cost(classes, plan.seed) for probe in plan.probes), *checks_cost(plan)]


def measure(subject: Subject, plan: Plan) -> Seconds | None:
    """Time calls on the first case that can be read and fits into memory; None if there is none."""
    for case in subject.cases:
        with contextlib.suppress(Exception):  # it will fail by itself, later
            return _measured(subject, case, plan)
    return None


def _measured(subject: Subject, case: Case, plan: Plan) -> Seconds:
    model, begin = subject.model, time.perf_counter()
    loaded = subject.source.load(case)
    scene = Scene(model, subject.source, case, loaded, folder=subject.cases.root, instances=plan.instances)
    reading = time.perf_counter() - begin
    slow = {"l2": seconds_per_pass(model, scene.image)}
    forward = _seconds(lambda: float(scene.logits(scene.image).sum()))
    scoring = max(0.0, _seconds(lambda: scene.clean_scores) - forward)
    for probe in plan.probes:
        kind = getattr(probe, "perturbation", "l2")
        if isinstance(probe, Budgeted) and kind not in (*slow, "linf"):
            trial = PGD(probe.build_set(1e-3, scene.scale, scene.room(probe.within)), steps=_TRIAL)
            slow[kind] = max(0.0, _seconds(trial, model, scene.image, scene.label) - 2 * forward) / _TRIAL
    return Seconds(forward, slow, scoring, reading, case.id)


def _seconds(call: Callable[..., object], *arguments: object) -> float:
    begin = time.perf_counter()
    call(*arguments)
    return time.perf_counter() - begin


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
    total = seconds.reading * len(left)
    rows = []
    for part in parts:
        number = sum(part.first is None or place < part.first for place in left)
        spent = number * seconds.of(part)
        total += spent
        rows.append([part.name, str(number), str(part.calls), duration(spent)])
    done = f", {len(left)} of them left" if len(left) < len(subject.cases) else ""
    measured = (
        f"{seconds.gradient['l2']:.3g} s a call with gradient, {seconds.forward:.3g} s without, "
        f"{seconds.scoring:.3g} s to score one, measured on {seconds.case}"
    )
    table = plain(["part", "cases", "calls per case", "time"], rows).replace("\n", "\n  ")
    shared = f" in all, shared by {processes} processes" if processes > 1 else ""
    return f"{head}{done}: about {duration(total)}{shared} ({measured}).\n  {table}"
