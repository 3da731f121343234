"""What an audit will cost, before it starts: cases x calls x measured seconds, for each part of the plan."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from imaseg.attacks import ShrinkingSetPGD
from imaseg.auditing.inputs.budget import Budgeted
from imaseg.auditing.inputs.subject import Subject
from imaseg.auditing.plan import Plan
from imaseg.auditing.probes import Cost
from imaseg.auditing.probes.near_search import NearSearch
from imaseg.auditing.probes.scene import Scene
from imaseg.auditing.table import plain
from imaseg.auditing.validity.case import checks_cost
from imaseg.data import Case
from imaseg.models.device import seconds_of, seconds_per_pass
from imaseg.progress import duration
from imaseg.scores import hard_dice

_TRIAL = 4
"""Steps of the search that is timed in each set."""


@dataclass(frozen=True)
class Seconds:
    """Measured on one case.

    Attributes:
        forward: a call without gradient.
        gradient: a step of a search with gradient, all that it does besides the pass included, by perturbation set.
        scoring: metrics of one prediction.
        changing: making one other image, by part.
        reading: the case itself.
        case: its id.
    """

    forward: float
    gradient: dict[str, float]
    scoring: float
    changing: dict[str, float]
    reading: float
    case: str

    def of(self, part: Cost) -> float:
        """Of one case."""
        slow = self.gradient.get(part.perturbation, self.gradient["l2"])
        calls = part.gradients * slow + part.forwards * self.forward
        return calls + part.scored * (self.scoring + self.changing.get(part.name, 0.0))


def costs(plan: Plan, classes: int, cases: int = 1, *, half: bool = False) -> list[Cost]:
    """Every part of a plan with the calls it takes; searches that succeed early take fewer.

    Args:
        plan: what is done.
        classes: structures of the model.
        cases: of the audit.
        half: whether searches take their gradients in half precision, which is checked.
    """
    first = [part for probe in plan.probes if (part := probe.once(cases)) is not None]
    parts = [*first, *(probe.cost(classes, plan.seed) for probe in plan.probes), *checks_cost(plan, half=half)]
    checked = plan.validity.cases if plan.validity is not None else 0
    confirmed = (probe.confirming(classes, plan.seed, min(checked, probe.cases or checked)) for probe in plan.probes)
    return [*parts, *(part for part in confirmed if part is not None and part.first != 0)]


def measure(subject: Subject, plan: Plan) -> Seconds | None:
    """Time calls on the first case that can be read and fits into memory; None if there is none."""
    for case in subject.cases:
        with contextlib.suppress(Exception):  # it will fail by itself, later
            return _measured(subject, case, plan)
    return None


def _measured(subject: Subject, case: Case, plan: Plan) -> Seconds:
    model, begin = subject.model, time.perf_counter()
    loaded = subject.source.load(case)
    how: dict[str, Any] = {"folder": subject.cases.root, "seed": plan.seed, "instances": plan.instances}
    how["precision"] = subject.precision.name
    scene = Scene(model, subject.source, case, loaded, **how)
    reading = time.perf_counter() - begin
    forward = seconds_of(lambda: float(scene.logits(scene.image).sum()))
    dice = scene.by_number(hard_dice(scene.rated(scene.clean_logits), scene.search_label))
    scoring = seconds_of(lambda: scene.score(scene.clean, dice, scene.label[0], scene.clean_logits[0]))
    slow: dict[str, float] = {}
    for kind, probe in _timed(plan).items():
        slow[kind] = _step(scene, probe, forward)
    if "l2" not in slow:
        slow["l2"] = seconds_per_pass(model, scene.image)
    return Seconds(
        forward, slow, scoring, {probe.name: probe.changing(scene) for probe in plan.probes}, reading, case.id
    )


def _timed(plan: Plan) -> dict[str, Budgeted]:
    """The probe whose step is timed, by perturbation set: the first that is searched anywhere, else the first.

    A step near the structures may run few of the tiles, which would promise too little for the others.
    """
    probes = [probe for probe in plan.probes if isinstance(probe, Budgeted)]
    near = [one for one in probes if one.within is not None or getattr(one, "search_near", None) is not None]
    anywhere = [one for one in probes if one not in near]
    return {probe.perturbation: probe for probe in reversed([*anywhere, *near])}


def _step(scene: Scene, probe: Budgeted, forward: float) -> float:
    """A step of a search: the pass, objective and its gradient, projection, and the judgement of where it led."""
    room = probe.room(scene) if isinstance(probe, NearSearch) else scene.room(probe.within)
    trial = ShrinkingSetPGD(probe.build_set(1e-3, scene.scale, room), steps=_TRIAL)
    spent = seconds_of(trial, scene.searched(scene.model), scene.image, scene.search_label)
    return max(0.0, spent - 2 * forward) / _TRIAL


def announcement(
    head: str, seconds: Seconds, cases: int, parts: Sequence[Cost], left: Sequence[int], *, processes: int = 1
) -> str:
    """The whole cost in a sentence, and a table of it by part.

    Args:
        head: how the sentence begins.
        seconds: measured.
        cases: of the audit.
        parts: of the plan.
        left: places of the cases that are still to be done.
        processes: that share them.
    """
    total = seconds.reading * len(left)
    rows = []
    for part in parts:
        number = sum(map(part.covers, left))
        spent = number * seconds.of(part)
        total += spent
        rows.append([part.name, str(number), str(part.calls), duration(spent)])
    done = f", {len(left)} of them left" if len(left) < cases else ""
    measured = (
        f"{seconds.gradient['l2']:.3g} s a call with gradient, {seconds.forward:.3g} s without, "
        f"{seconds.scoring:.3g} s to score one, measured on {seconds.case}"
    )
    table = plain(["part", "cases", "calls per case", "time"], rows).replace("\n", "\n  ")
    shared = f" in all, shared by {processes} processes" if processes > 1 else ""
    most = f"at most about {duration(total)}{shared}, less where searches break a case early"
    return f"{head}{done}: {most} ({measured}).\n  {table}"
