"""The gate of a pipeline: METRIC@PROBE-EPS=VALUE, the lowest value that still passes.

    dice@clean=0.8            mean Dice without any change
    dice@linf-0.05=0.6        lowest mean Dice over all attacks in that set at that budget
    dice@pgd-l2-0.1=0.5       under one probe of the plan
    dice@rician-noise-3=0.7   under a corruption at a severity
    margin@l2=0.05            lowest median margin in a set; margin@NAME of one margin of the plan

METRIC is `margin`, or a metric of which more is better. Names are checked against the plan before anything runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from imaseg.auditing.metrics.scores import METRICS
from imaseg.auditing.plan import Plan
from imaseg.auditing.probes import AttackProbe, CorruptionProbe, MarginProbe
from imaseg.errors import InputError
from imaseg.results.base import Block
from imaseg.results.summary import Summary

MARGIN = "margin"
_CLEAN = "clean"
_FORM = re.compile(r"(?P<metric>[a-z0-9_]+)@(?P<target>[^=@\s]+)=(?P<value>[-+.\deE]+)")
_STEP = re.compile(r"(?P<name>.+?)-(?P<eps>\d*\.?\d+(?:e[-+]?\d+)?)", re.IGNORECASE)


@dataclass(frozen=True)
class Gate:
    """One demand.

    Attributes:
        text: as given.
        metric: what must be high enough.
        name: probe, set, corruption or margin.
        eps: budget or severity; None for `clean` and margins.
        least: the lowest value that passes.
        noise: probes that draw at random, which do not count as attacks in a set.
    """

    text: str
    metric: str
    name: str
    eps: float | None
    least: float
    noise: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, text: str, plan: Plan) -> Gate:
        """Read a demand and see that the plan measures what it names.

        Raises:
            InputError: if it has another form or names something else; the message lists what there is.
        """
        form = _FORM.fullmatch(text.strip())
        try:
            least = float(form["value"]) if form else None
        except ValueError:
            least = None
        if form is None or least is None:
            msg = f"--fail-below must be METRIC@PROBE-EPS=VALUE, got {text!r}. Write dice@clean=0.8, for example."
            raise InputError(msg)
        metrics = (*higher_is_better(), MARGIN)
        if form["metric"] not in metrics:
            msg = f"metric of --fail-below must be one of {', '.join(metrics)}, got {form['metric']!r} in {text!r}."
            raise InputError(msg)
        noise = frozenset(probe.name for probe in plan.attacks if probe.is_noise)
        return cls(text, form["metric"], *_measured(form["metric"], form["target"], plan, text), least, noise)

    def value(self, summary: Summary) -> float | None:
        """What the audit measured; None if it has no value."""
        found = [value for value in self._values(summary) if value is not None]
        return min(found, default=None)

    def judge(self, summary: Summary) -> tuple[bool, str]:
        """Whether it passes, and a line that says so."""
        value = self.value(summary)
        got = "no value" if value is None else f"{value:.4g}"
        passes = value is not None and value >= self.least
        text = f"{self.text.partition('=')[0]} must be at least {self.least:g}, got {got}"
        return passes, f"gate {'passed' if passes else 'failed'}: {text} (n = {summary.data.cases})"

    def _values(self, summary: Summary) -> Iterator[float | None]:
        if self.metric == MARGIN:
            for entry in summary.margins:
                if entry.probe == self.name or (entry.perturbation == self.name and entry.structure is None):
                    yield entry.median
        elif self.name == _CLEAN:
            yield summary.foreground_mean[self.metric]
        else:
            for block in self._blocks(summary):
                yield block.foreground_mean[self.metric]

    def _blocks(self, summary: Summary) -> Iterator[Block]:
        for entry in summary.probes:
            attacked = entry.perturbation == self.name and entry.probe not in self.noise
            if entry.eps == self.eps and (entry.probe == self.name or attacked):
                yield entry
        for corruption in summary.corruptions:
            if corruption.corruption == self.name and corruption.severity == self.eps:
                yield corruption


def higher_is_better() -> list[str]:
    """Metrics that a gate may ask for."""
    return [name for name, metric in METRICS.items() if metric.higher_is_better]


def parse_gates(texts: Iterable[str], plan: Plan) -> list[Gate]:
    """All demands of a command line.

    Raises:
        InputError: as `Gate.parse`.
    """
    return [Gate.parse(text, plan) for text in texts]


def _measured(metric: str, target: str, plan: Plan, text: str) -> tuple[str, float | None]:
    """Name and budget, if the plan measures them."""
    if metric == MARGIN:
        names = _margins(plan)
        if target in names:
            return target, None
        known: Sequence[str] = names
    else:
        steps, corruptions = dict(_steps(plan)), _corruptions(plan)
        split = _STEP.fullmatch(target)
        name, eps = (split["name"], float(split["eps"])) if split else (target, None)
        if target == _CLEAN:
            return target, None
        if eps is not None and (eps in steps.get(name, ()) or eps in corruptions.get(name, ())):
            return name, eps
        measured = [*steps.items(), *corruptions.items()]
        known = [_CLEAN, *(f"{one}-{step:g}" for one, ladder in measured for step in ladder)]
    listed = ", ".join(known) or "nothing"
    msg = f"--fail-below must name what plan {plan.name} measures as {metric} ({listed}), got {target!r} in {text!r}."
    raise InputError(msg)


def _steps(plan: Plan) -> Iterator[tuple[str, Sequence[float]]]:
    """Budgets by set, over all attacks in it, and by probe."""
    sets: dict[str, list[float]] = {}
    for probe in plan.of(AttackProbe):
        if not probe.is_noise:
            sets.setdefault(probe.perturbation, []).extend(probe.eps)
    for name, ladder in sets.items():
        yield name, sorted(set(ladder))
    for probe in plan.of(AttackProbe):
        yield probe.name, probe.eps


def _margins(plan: Plan) -> list[str]:
    margins = plan.of(MarginProbe)
    return [*dict.fromkeys(margin.perturbation for margin in margins), *(margin.name for margin in margins)]


def _corruptions(plan: Plan) -> dict[str, Sequence[int]]:
    """Severities by corruption."""
    return {one.name: probe.severities for probe in plan.of(CorruptionProbe) for one in probe.build(plan.seed)}
