"""The gate of a pipeline: METRIC@PROBE-EPS=VALUE, the lowest value that still passes.

    dice@clean=0.8            mean Dice without any change
    dice@linf-0.05=0.6        lowest mean Dice over all attacks in that set at that budget
    dice@pgd-l2-0.1=0.5       under one probe of the plan
    dice@rician-noise-3=0.7   under a corruption at a severity
    margin@l2=0.05            lowest median margin in a set; margin@NAME of one margin of the plan
    dice@l2-within-20mm-0.05=0.6   of attacks that may change only what is so near to a structure
    dice@clean[sex=F]=0.8     of one group of `--groups`; only dice
    gap@linf-0.05[site]=-0.1  lowest less highest mean Dice of the groups of a column, those large enough

METRIC is `margin`, `gap`, or a metric of which more is better. Names are checked against the plan before anything
runs. No gate passes on an audit that calls itself invalid, unless its numbers are asked for all the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from imaseg.auditing.metrics.scores import METRICS
from imaseg.auditing.plan import Plan
from imaseg.auditing.probes import CorruptionProbe, MarginProbe, UniversalProbe
from imaseg.errors import InputError
from imaseg.results.attack import AttackEntry
from imaseg.results.base import Block
from imaseg.results.groups import CLEAN
from imaseg.results.summary import Summary
from imaseg.statistics import FEWEST

MARGIN = "margin"
GAP = "gap"
_CLEAN = "clean"
_OF_GROUPS = ("dice", "native_dice")
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_GROUP = r"(?:\[(?P<column>[^=\]]+)(?:=(?P<group>[^\]]+))?\])?"
_FORM = re.compile(rf"(?P<metric>[a-z0-9_]+)@(?P<target>[^=@\s\[]+){_GROUP}=(?P<value>{_NUMBER})")
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
        column, group: of `--groups`; empty for all cases.
    """

    text: str
    metric: str
    name: str
    eps: float | None
    least: float
    noise: frozenset[str] = frozenset()
    column: str = ""
    group: str = ""

    @classmethod
    def parse(cls, text: str, plan: Plan) -> Gate:
        """Read a demand and see that the plan measures what it names.

        Raises:
            InputError: if it has another form or names something else; the message lists what there is.
        """
        form = _FORM.fullmatch(text.strip())
        if form is None:
            msg = f"--fail-below must be METRIC@PROBE-EPS=VALUE, got {text!r}. Write dice@clean=0.8, for example."
            raise InputError(msg)
        metrics = (*higher_is_better(plan), GAP, MARGIN)
        if form["metric"] not in metrics:
            msg = f"metric of --fail-below must be one of {', '.join(metrics)}, got {form['metric']!r} in {text!r}."
            raise InputError(msg)
        column, group = form["column"] or "", form["group"] or ""
        if (form["metric"] == GAP) != bool(column and not group) or (group and form["metric"] not in _OF_GROUPS):
            msg = (
                f"--fail-below must name a group as dice@clean[COLUMN=GROUP]=VALUE or the gap between groups as "
                f"gap@clean[COLUMN]=VALUE, got {text!r}. Of groups {' and '.join(_OF_GROUPS)} are known."
            )
            raise InputError(msg)
        if plan.reference == "prediction" and form["target"] == _CLEAN:
            msg = (
                f"--fail-below must name a change, got {text!r}: against the model's own prediction clean Dice is 1 by "
                "definition. Name an attack or a corruption."
            )
            raise InputError(msg)
        noise = frozenset(probe.name for probe in plan.attacks if probe.is_noise)
        name, eps = _measured(form["metric"], form["target"], plan, text, grouped=bool(column))
        return cls(text, form["metric"], name, eps, float(form["value"]), noise, column, group)

    def value(self, summary: Summary) -> float | None:
        """What the audit measured; None if it has no value."""
        found = [value for value in self._values(summary) if value is not None]
        return min(found, default=None)

    def judge(self, summary: Summary, *, allow_invalid: bool = False) -> tuple[bool, str]:
        """Whether it passes, and a line that says so.

        Args:
            summary: of the audit.
            allow_invalid: judge by the numbers even where the audit says that they are no evidence.
        """
        value = self.value(summary)
        why = {
            GAP: f" (no two groups have {FEWEST} patients)",
            "native_dice": " (the cases were prepared before: there is no other grid)",
        }.get(self.metric, "")
        # Pages show the instances of all cases together, which is another number.
        mean = " as the mean over cases" if self.metric.startswith("instance") else ""
        got = f"no value{why}" if value is None else f"{value:.4g}{mean}"
        passes = value is not None and value >= self.least
        text = f"{self.text.rpartition('=')[0]} must be at least {self.least:g}, got {got}"
        if not (summary.valid or allow_invalid):
            return False, f"gate failed: the audit calls itself invalid ({text}, n = {self._cases(summary)})"
        return passes, f"gate {'passed' if passes else 'failed'}: {text} (n = {self._cases(summary)})"

    def _cases(self, summary: Summary) -> int:
        """How many cases it judges."""
        groups = [group for one in summary.groups if one.column == self.column for group in one.groups]
        judged = [group for group in groups if self.group in ("", group.value)]
        return sum(len(group.cases) for group in judged) if judged else summary.data.cases

    def _values(self, summary: Summary) -> Iterator[float | None]:
        if self.column:
            yield from self._of_groups(summary)
        elif self.metric == MARGIN:
            for entry in summary.margins:
                if entry.probe == self.name or (entry.in_set == self.name and entry.structure is None):
                    yield entry.median
        elif self.name == _CLEAN:
            yield summary.foreground_mean.get(self.metric)
        else:
            for block in self._blocks(summary):
                yield block.foreground_mean.get(self.metric)

    def _of_groups(self, summary: Summary) -> Iterator[float | None]:
        """Dice of the group, or the gap of the column, under every probe that is meant."""
        probes = {(CLEAN, 0.0)} if self.name == _CLEAN else {(one.probe, one.eps) for one in self._attacks(summary)}
        for grouping in summary.groups:
            if grouping.column == self.column and self.metric == GAP:
                yield from (gap.gap for gap in grouping.gaps if (gap.probe, gap.eps) in probes)
            elif grouping.column == self.column:
                figures = [one for group in grouping.groups if group.value == self.group for one in group.figures]
                yield from (getattr(one, self.metric) for one in figures if (one.probe, one.eps) in probes)

    def _attacks(self, summary: Summary) -> Iterator[AttackEntry]:
        for entry in summary.probes:
            attacked = entry.in_set == self.name and entry.probe not in self.noise and not entry.fitted_on
            if entry.eps == self.eps and (entry.probe == self.name or attacked):
                yield entry

    def _blocks(self, summary: Summary) -> Iterator[Block]:
        yield from self._attacks(summary)
        for corruption in summary.corruptions:
            if corruption.corruption == self.name and corruption.severity == self.eps:
                yield corruption


def higher_is_better(plan: Plan) -> list[str]:
    """Metrics that a gate may ask for."""
    asked = plan.instances is not None
    return [name for name, metric in METRICS.items() if metric.higher_is_better and (asked or not metric.asked)]


def parse_gates(texts: Iterable[str], plan: Plan) -> list[Gate]:
    """All demands of a command line.

    Raises:
        InputError: as `Gate.parse`.
    """
    return [Gate.parse(text, plan) for text in texts]


def require_groups(gates: Iterable[Gate], grouped: Mapping[str, Mapping[str, str]]) -> None:
    """See that the table of the cases holds the columns and groups that gates name.

    Args:
        gates: of a command line.
        grouped: group by column and case; empty without a table.

    Raises:
        InputError: if one is not there; the message lists what there is.
    """
    for gate in gates:
        groups = {*grouped.get(gate.column, {}).values()}
        if gate.column and not groups:
            there = ", ".join(grouped) or "no table: give one with --groups"
            msg = f"--fail-below must name a column of the table of the cases ({there}), got {gate.text!r}."
            raise InputError(msg)
        if gate.group and gate.group not in groups:
            msg = f"--fail-below must name a group of {gate.column} ({', '.join(sorted(groups))}), got {gate.text!r}."
            raise InputError(msg)


def _measured(metric: str, target: str, plan: Plan, text: str, *, grouped: bool) -> tuple[str, float | None]:
    """Name and budget, if the plan measures them."""
    known, split = _targets(metric, plan, grouped=grouped), _STEP.fullmatch(target)
    wanted = [(target, None), *([(split["name"], float(split["eps"]))] if split else [])]
    for name, eps in wanted:
        if (name, eps) in known:
            return name, eps
    listed = ", ".join(known.values()) or "nothing"
    msg = f"--fail-below must name what plan {plan.name} measures as {metric} ({listed}), got {target!r} in {text!r}."
    raise InputError(msg)


def _targets(metric: str, plan: Plan, *, grouped: bool) -> dict[tuple[str, float | None], str]:
    """What a gate may name, by name and budget or severity; of groups clean Dice and attacks only."""
    if metric == MARGIN:
        margins = plan.of(MarginProbe)
        names = [*(margin.in_set for margin in margins), *(margin.name for margin in margins)]
        return {(name, None): name for name in names}
    ladders: dict[str, set[float]] = {}
    for probe in plan.attacks:
        if not probe.is_noise:
            ladders.setdefault(probe.in_set, set()).update(probe.eps)
    measured = [*ladders.items(), *((probe.name, probe.eps) for probe in plan.attacks)]
    measured += [(probe.name, probe.eps) for probe in plan.of(UniversalProbe)]
    if not grouped:
        found = plan.of(CorruptionProbe)
        measured += [(one.name, probe.severities) for probe in found for one in probe.build(plan.seed)]
    steps: dict[tuple[str, float | None], str] = {
        (name, eps): f"{name}-{eps:g}" for name, ladder in measured for eps in sorted(ladder)
    }
    return {(_CLEAN, None): _CLEAN} | steps
