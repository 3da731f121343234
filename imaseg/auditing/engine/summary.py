"""The numbers of `summary.json` from the records of the cases: clean, of every probe, checks on the attacks."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from imaseg.auditing.metrics.degradation import degradation
from imaseg.auditing.metrics.groups import by_group
from imaseg.auditing.metrics.lesions import instance_groups
from imaseg.auditing.metrics.scores import block
from imaseg.auditing.metrics.sizes import RULE, by_size
from imaseg.auditing.metrics.stability import stability
from imaseg.auditing.metrics.volumes import Scored, volume_changes
from imaseg.auditing.plan import Plan
from imaseg.auditing.probes import CorruptionProbe
from imaseg.auditing.probes.attack import worst_cases
from imaseg.auditing.validity.checks import valid, validity
from imaseg.data.groups import Grouped
from imaseg.results import CaseRecord, Summary
from imaseg.results.base import MEAN
from imaseg.results.case import units_of
from imaseg.results.preparation import Agreement
from imaseg.results.run import Run
from imaseg.results.summary import Cost, DataFacts, Intervals


def summarise(
    records: Sequence[CaseRecord], plan: Plan, *, run: Run, data: DataFacts, grouped: Grouped | None = None
) -> Summary:
    """All numbers, over the same cases.

    `cost` is of the machine; all else is the same however often and by how many processes the audit was run.
    """
    labels = {int(k): name for k, name in data.labels.items()}
    units = units_of(records)
    clean = block({record.case: record.clean for record in records}, labels, units)
    entries: dict[str, Any] = _entries(records, plan, labels)
    agreed = run.agreement or Agreement()
    checks = validity(records, plan, data, agreed, random=run.random)
    volumes = {record.case: record.volumes for record in records}
    # Attacks that were run on every case: groups of sizes compare the same cases.
    attacks = [one for one in entries.get("probes", []) if one.n == len(records)]
    sized = [(one.probe, one.eps, one.metric_per_case) for one in attacks]
    scored = _scored(entries)
    unchanged = [("clean", 0.0, clean["metric_per_case"])]
    return Summary(
        model=run.model,
        data=data,
        preparation=run.preparation,
        agreement=agreed,
        native_dice={} if data.reference == "prediction" else _native_dice(clean),
        **clean,
        intervals=Intervals.of(records),
        clean_dice_ci95=clean["ci95"]["dice"],
        **entries,
        degradation=degradation(records) if plan.of(CorruptionProbe) else None,
        stability=stability(records) if data.reference == "prediction" else None,
        groups=by_group(grouped or {}, clean["metric_per_case"], attacks, entries.get("margins", []), units),
        by_size=by_size(volumes, clean["metric_per_case"], sized, list(clean["mean"]), units),
        by_size_rule=RULE,
        instances=instance_groups(unchanged + scored, plan.instances, units) if plan.instances else [],
        instances_rule=plan.instances.rule if plan.instances else "",
        volume_changes=volume_changes(clean["metric_per_case"], scored, list(clean["mean"]), units),
        validity=checks,
        valid=valid(checks),
        showcase=plan.shown,
        cost=Cost(
            seconds_per_case=statistics.median(record.seconds for record in records),
            peak_memory_mb=max(record.peak_memory_mb for record in records),
        ),
    )


def _native_dice(clean: Mapping[str, Any]) -> dict[str, float]:
    """By class and in the mean, where it was counted."""
    means = {**clean["mean"], MEAN: clean["foreground_mean"]}
    return {k: values["native_dice"] for k, values in means.items() if "native_dice" in values}


def _scored(entries: Mapping[str, Sequence[Any]]) -> list[Scored]:
    """Attacks and corruptions; a perturbation for many cases where it is judged on cases that it was not fitted on."""
    probes = [
        one for one in entries.get("probes", []) if not {case.case for case in one.metric_per_case} <= {*one.fitted_on}
    ]
    attacks = [(one.probe, one.eps, one.metric_per_case) for one in probes]
    faults = [(one.corruption, float(one.severity), one.metric_per_case) for one in entries.get("corruptions", [])]
    return attacks + faults


def _entries(records: Sequence[CaseRecord], plan: Plan, labels: dict[int, str]) -> dict[str, list[Any]]:
    """What every probe says, by its place in the summary; the worst cases over several attacks follow the attacks."""
    found = [entry for probe in plan.probes for entry in probe.summarise(records, labels, plan.seed)]
    found += worst_cases(plan.attacks, records, labels, plan.seed)
    places: dict[str, list[Any]] = {}
    for entry in found:
        places.setdefault(entry.place, []).append(entry)
    return places
