"""Results by group: for whom a model fails, and whether groups are further apart than chance would have them."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import scipy.stats

from imaseg.auditing.metrics.scores import METRICS, mean_of_known
from imaseg.data.groups import NOT_STATED, Grouped
from imaseg.results.attack import AttackEntry
from imaseg.results.base import MEAN, CaseScores
from imaseg.results.groups import CLEAN, Group, GroupFigure, GroupGap, Grouping, GroupMargin
from imaseg.results.margin import MarginEntry
from imaseg.statistics import FEWEST, mean_interval, median_interval
from imaseg.statistics.comparison import holm

_Dice = dict[str, float]


def by_group(
    grouped: Grouped,
    clean: Sequence[CaseScores],
    attacks: Sequence[AttackEntry],
    margins: Sequence[MarginEntry],
    units: Mapping[str, str],
) -> list[Grouping]:
    """Dice and margins by the values of each column.

    Args:
        grouped: group by column and case.
        clean: scores of the unchanged images.
        attacks: those that were run on every case.
        margins: of whole cases.
        units: what intervals and tests are over, by case (`imaseg.results.case.units_of`).
    """
    scored = {(CLEAN, 0.0): clean} | {(one.probe, one.eps): one.metric_per_case for one in attacks}
    tables = {key: _values(scores, "dice") for key, scores in scored.items()}
    on_files = {key: _values(scores, "native_dice") for key, scores in scored.items()}
    found = []
    for column, values in grouped.items():
        held = {case: values[case] for case in units if case in values}
        members = {
            value: [case for case in held if held[case] == value] for value in sorted({*held.values()}, key=_place)
        }
        groups = [_group(value, cases, tables, on_files, margins, units) for value, cases in members.items()]
        found.append((column, groups, [*_gaps(groups, tables, units)]))
    adjusted = iter(holm([gap.p for _, _, gaps in found for gap in gaps]))
    return [
        Grouping(
            column=column,
            fewest=FEWEST,
            groups=groups,
            gaps=[gap.model_copy(update={"p": next(adjusted)}) for gap in gaps],
        )
        for column, groups, gaps in found
    ]


def _place(value: str) -> tuple[bool, float, str]:
    """Numbers and ranges of numbers by size, then words; cases without a value last."""
    number = re.match(r"-?[\d.]+", value)
    try:
        size = float(number[0]) if number else math.inf
    except ValueError:
        size = math.inf
    return value == NOT_STATED, size, value


def _values(scores: Sequence[CaseScores], metric: str) -> _Dice:
    """Mean over the structures of each case where it is defined."""
    found = {one.case: one.metrics.get(MEAN, {}).get(metric) for one in scores}
    return {case: value for case, value in found.items() if value is not None}


def _group(
    value: str,
    cases: Sequence[str],
    tables: Mapping[tuple[str, float], _Dice],
    on_files: Mapping[tuple[str, float], _Dice],
    margins: Sequence[MarginEntry],
    units: Mapping[str, str],
) -> Group:
    figures = []
    for (probe, eps), dice in tables.items():
        here = [case for case in cases if case in dice]
        if here:
            numbers, patients = [dice[case] for case in here], [units[case] for case in here]
            ends = mean_interval(numbers, patients, within=METRICS["dice"].within)
            there = [on_files[probe, eps].get(case) for case in here]
            figures.append(
                GroupFigure(
                    probe=probe, eps=eps, dice=statistics.fmean(numbers), ci95=ends, native_dice=mean_of_known(there)
                )
            )
    return Group(
        value=value,
        cases=list(cases),
        patients=len({units[case] for case in cases}),
        figures=figures,
        margins=[*_margins(cases, margins, units)],
    )


def _margins(cases: Sequence[str], margins: Sequence[MarginEntry], units: Mapping[str, str]) -> Iterator[GroupMargin]:
    for entry in margins:
        here = [one for one in entry.per_case if one.case in cases and entry.structure is None]
        if here:
            values = [one.margin for one in here]
            median = statistics.median(values)
            yield GroupMargin(
                probe=entry.probe,
                unit=entry.unit,
                median=median,
                at_least=any(one.censored and one.margin <= median for one in here),
                ci95=median_interval(values, [units[one.case] for one in here]),
            )


def _gaps(
    groups: Sequence[Group], tables: Mapping[tuple[str, float], _Dice], units: Mapping[str, str]
) -> Iterator[GroupGap]:
    """Of groups that are large enough, where there are two or more; p is not adjusted yet."""
    large = [group for group in groups if group.patients >= FEWEST and group.value != NOT_STATED]
    if len(large) < 2:
        return
    for (probe, eps), dice in tables.items():
        means = {group.value: statistics.fmean(_of(group, dice)) for group in large}
        samples = [_by_patient(group, dice, units) for group in large]
        equal = len({*np.concatenate(samples).tolist()}) == 1  # of which there are no ranks
        yield GroupGap(
            probe=probe,
            eps=eps,
            gap=min(means.values()) - max(means.values()),
            worst=min(means, key=lambda value: means[value]),
            p=1.0 if equal else float(scipy.stats.kruskal(*samples).pvalue),
        )


def _of(group: Group, dice: _Dice) -> list[float]:
    return [dice[case] for case in group.cases if case in dice]


def _by_patient(group: Group, dice: _Dice, units: Mapping[str, str]) -> list[float]:
    """Mean of each patient, since cases of one are no independent evidence."""
    found: dict[str, list[float]] = {}
    for case in group.cases:
        if case in dice:
            found.setdefault(units[case], []).append(dice[case])
    return [statistics.fmean(values) for values in found.values()]
