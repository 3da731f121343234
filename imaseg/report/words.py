"""The summary in plain sentences, every one of them computed from the numbers of the audits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from imaseg.report.breaking import budget_text, halves_at
from imaseg.report.compare import Point, Series, at, clean_point, ladder, paired, strongest, telling
from imaseg.report.corruptions import average, severities, title_of
from imaseg.report.known import about_attack
from imaseg.report.numerals import attack_name, count, decimal, in_words, listing, set_name, short, signed, unit_name
from imaseg.report.read import Audit


@dataclass(frozen=True)
class Sentence:
    """A sentence of the summary, with one item per model where it lists them."""

    text: str
    points: tuple[str, ...] = ()


_FEW = 3  # checks that a sentence can name


def summary(audits: Sequence[Audit]) -> list[Sentence]:
    """Five sentences: what was audited, clean Dice, how it breaks, what breaks it most, whether the checks passed."""
    lead = strongest(audits)
    return [
        Sentence(_subject(audits)),
        _clean(audits),
        _breaks(audits, lead),
        _weakest(audits, lead),
        Sentence(validity(audits)),
    ]


def named(series: Series, how: str) -> str:
    """An attack with its settings, as sentences call it.

    >>> named(Series("pgd-l2", "pgd", "l2", "rms"), "20 steps, seed 0")
    'PGD in the L2 ball (probe pgd-l2: 20 steps, seed 0)'
    """
    return f"{attack_name(series.attack)} in the {set_name(series.perturbation)} (probe {series.probe}: {how})"


def settings(point: Point) -> str:
    """Objective, steps, restarts and seed of a probe, as far as they were recorded."""
    probe = point.probe
    if probe is None:
        return ""
    noise = about_attack(probe.attack).is_noise
    known = [
        f"the lowest Dice of each case over {listing(probe.members)}" if probe.members else "",
        f"objective {probe.objective}" if probe.objective and not noise else "",
        count(probe.steps, "step") if probe.steps is not None and not noise else "",
        count(probe.restarts, "draw" if noise else "restart") if probe.restarts is not None else "",
        f"seed {probe.seed}" if probe.seed is not None else "",
    ]
    return ", ".join(part for part in known if part) or "settings not recorded"


def validity(audits: Sequence[Audit]) -> str:
    """How many validity checks hold, and the names of those that do not or could not be run."""
    checks = [(audit.name, check) for audit in audits for check in audit.summary.validity]
    if not checks:
        return "No validity checks were recorded, so nothing here shows that the attacks worked as they should."
    several = len(audits) > 1
    failed, unknown = (
        [f"{check.check} ({name})" if several else check.check for name, check in checks if check.ok is ok]
        for ok in (False, None)
    )
    silent = [audit.name for audit in audits if not audit.summary.validity]
    total = count(len(checks), "validity check")
    if failed:
        text = f"{len(failed)} of {total} failed: {'; '.join(failed)}."
    elif unknown:
        text = f"{len(checks) - len(unknown)} of {total} passed and none failed."
    else:
        text = f"All {total} passed." if len(checks) > 1 else "The one validity check passed."
    if unknown:
        which = "; ".join(unknown) if len(unknown) <= _FEW else "they are grey under Validity"
        text += f" {len(unknown)} could not be run: {which}."
    return text + (f" None were recorded for {listing(silent)}." if silent else "")


def _subject(audits: Sequence[Audit]) -> str:
    names = [audit.name for audit in audits]
    places = {(a.summary.data.name, a.summary.data.cases, a.summary.data.selection) for a in audits}
    if len(places) == 1:
        data, cases, selection = next(iter(places))
        chosen = f" (selection: {selection})" if selection else ""
        where = f"on {count(cases, 'case')} of {data}{chosen}"
    else:
        parts = [f"{a.name} on {count(a.summary.data.cases, 'case')} of {a.summary.data.name}" for a in audits]
        where = "on different cases: " + "; ".join(parts)
    labels = dict.fromkeys(label for audit in audits for label in audit.summary.data.labels.values())
    who = f"The model {names[0]} was" if len(names) == 1 else f"{len(names)} models, {listing(names)}, were"
    return f"{who} audited {where}; structures: {listing(list(labels))}."


def _clean(audits: Sequence[Audit]) -> Sentence:
    reference, said = clean_point(audits[0]), []
    for audit in audits:
        point = clean_point(audit)
        text = f"{decimal(point.dice)} ({in_words(point.dice_ci95)}, n = {point.n})"
        change = "" if audit is audits[0] else _against(audits[0].name, reference, point)
        said.append(f"{_who(audits, audit)}{text}{change}")
    return Sentence("Mean foreground Dice on unchanged images:", tuple(said))


def _who(audits: Sequence[Audit], audit: Audit) -> str:
    """Whose number it is, where there are several models."""
    return f"{audit.name}: " if len(audits) > 1 else ""


def _breaks(audits: Sequence[Audit], lead: Sequence[Series]) -> Sentence:
    """Under the set that the pictures show, else the first one: where Dice halves, and what is left at one budget."""
    series = main_series(audits, lead)
    if series is None:
        return Sentence("No attack was run, so nothing here says how the model breaks.")
    eps = telling(audits, series)
    said = []
    for audit in audits:
        points = ladder(audit, series)
        if not points:
            said.append(f"{_who(audits, audit)}not audited with this attack")
            continue
        half, first = halves_at(audit, series), points[0].eps
        if half is None:
            text = f"no budget up to {budget_text(audit, series.unit, points[-1].eps)}"
        elif half < first:  # nothing was audited in between
            text = f"less than {budget_text(audit, series.unit, first)}, the smallest budget"
        else:
            text = budget_text(audit, series.unit, half)
        left = _left(audits, audit, series, points[-1].eps if eps is None else eps)
        said.append(f"{_who(audits, audit)}{text}{left}")
    where = f"the {set_name(series.perturbation)} (probe {series.probe})"
    return Sentence(f"Under the worst attack in {where}, half of the clean Dice is lost at:", tuple(said))


def _left(audits: Sequence[Audit], audit: Audit, series: Series, eps: float) -> str:
    point = at(audit, series, eps)
    if point is None:
        return ""
    change = "" if audit is audits[0] else _against(audits[0].name, at(audits[0], series, eps), point)
    return f"; {decimal(point.dice)} ({in_words(point.dice_ci95)}) is left at {short(eps)}{change}"


def _against(name: str, reference: Point | None, point: Point) -> str:
    """The paired difference from the reference."""
    change = paired(reference, point)
    if change is None:
        return f", no case shared with {name}"
    return f", {signed(change.mean)} against {name} case by case ({in_words(change.ci95, sign=True)}, n = {change.n})"


def _weakest(audits: Sequence[Audit], lead: Sequence[Series]) -> Sentence:
    said = []
    for audit in audits:
        parts = [part for part in (_weakest_set(audit, lead), _weakest_corruption(audit)) if part]
        if parts:
            said.append(f"{_who(audits, audit)}{'; '.join(parts)}")
    if not said:
        return Sentence("No attack and no corruption was audited.")
    corrupted = any(audit.summary.corruptions for audit in audits)
    return Sentence(f"What costs the most Dice{'' if corrupted else ' (no corruption was audited)'}:", tuple(said))


def _weakest_set(audit: Audit, lead: Sequence[Series]) -> str:
    """The set whose largest audited budget leaves the least Dice."""
    ends = [(points[-1], series) for series in lead if (points := ladder(audit, series))]
    known = [(point.dice, point.eps, series) for point, series in ends if point.dice is not None]
    if not known:
        return ""
    dice, eps, series = min(known, key=lambda one: one[0])
    among = f"among {len(known)} sets of perturbations" if len(known) > 1 else "the only set of perturbations attacked"
    left = f"{decimal(dice)} left at {short(eps)} {unit_name(series.unit)}, the largest budget"
    return f"the {set_name(series.perturbation)}, {among} ({left})"


def _weakest_corruption(audit: Audit) -> str:
    """The corruption with the lowest Dice, averaged over its severities."""
    found = severities(audit)
    means = {name: mean for name, each in found.items() if (mean := average(each)) is not None}
    if not means:
        return ""
    name = min(means, key=lambda one: means[one])
    last = max(found[name], key=lambda one: one.severity)
    return (
        f"{title_of(last)}, among {count(len(means), 'corruption')} ({decimal(means[name])} left, averaged over its "
        f"severities, {decimal(last.foreground_mean.get('dice'))} at severity {last.severity})"
    )


def main_series(audits: Sequence[Audit], lead: Sequence[Series]) -> Series | None:
    """The strongest attack of the set that the reference's pictures show, else of the first set."""
    show = audits[0].summary.showcase
    probes = audits[0].summary.probes
    sets = {(p.perturbation, p.unit) for p in probes if show is not None and p.probe == show.probe}
    return next((series for series in lead if (series.perturbation, series.unit) in sets), lead[0] if lead else None)
