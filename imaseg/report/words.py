"""The summary in plain sentences, every one of them computed from the numbers of the audits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from imaseg.report.compare import Point, Series, at, clean_point, ladder, paired, strongest
from imaseg.report.margins import median_text
from imaseg.report.numerals import attack_name, count, decimal, in_words, listing, set_name, short, signed, unit_name
from imaseg.report.read import Audit


@dataclass(frozen=True)
class Sentence:
    """A sentence of the summary, with one item per model where it lists them."""

    text: str
    points: tuple[str, ...] = ()


def summary(audits: Sequence[Audit]) -> list[Sentence]:
    """What was audited, clean Dice, the strongest attacks, margins, the price of robustness, validity."""
    lead = strongest(audits)
    return [
        Sentence(_subject(audits)),
        _clean(audits),
        *(_attacked(audits, series) for series in lead),
        *_margins(audits),
        _price(audits, lead),
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
    noise = probe.attack.endswith("noise")
    known = [
        f"the lowest Dice of each case over {listing(probe.members)}" if probe.members else "",
        f"objective {probe.objective}" if probe.objective and not noise else "",
        count(probe.steps, "step") if probe.steps is not None and not noise else "",
        count(probe.restarts, "draw" if noise else "restart") if probe.restarts is not None else "",
        f"seed {probe.seed}" if probe.seed is not None else "",
    ]
    return ", ".join(part for part in known if part) or "settings not recorded"


def validity(audits: Sequence[Audit]) -> str:
    """How many validity checks hold, and the names of those that do not."""
    checks = [(audit.name, check) for audit in audits for check in audit.summary.validity if check.ok is not None]
    if not checks:
        return "No validity checks were recorded, so nothing here shows that the attacks worked as they should."
    failed = [f"{check.check} ({name})" for name, check in checks if check.ok is False]
    silent = [audit.name for audit in audits if not any(check.ok is not None for check in audit.summary.validity)]
    text = (
        f"{len(failed)} of {count(len(checks), 'validity check')} failed: {'; '.join(failed)}."
        if failed
        else f"All {count(len(checks), 'validity check')} passed."
        if len(checks) > 1
        else "The one validity check passed."
    )
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
    said = [
        f"{audit.name}: {decimal(point.dice)} ({in_words(point.dice_ci95)}, n = {point.n})"
        for audit in audits
        for point in [clean_point(audit)]
    ]
    return Sentence("Mean foreground Dice on unchanged images:", tuple(said))


def _attacked(audits: Sequence[Audit], series: Series) -> Sentence:
    said, missing, details = [], [], []
    for audit in audits:
        points = ladder(audit, series)
        if not points:
            missing.append(audit.name)
            continue
        details.append(settings(points[0]))
        steps = [f"{decimal(point.dice)} at {short(point.eps)}" for point in points]
        said.append(f"{audit.name}: {decimal(clean_point(audit).dice)} clean, {', '.join(steps)}")
    how = details[0] if len(set(details)) == 1 else "settings differ between models"
    said += [f"{name}: not audited with this attack" for name in missing]
    return Sentence(
        f"Mean Dice under the strongest attack, {named(series, how)}, by eps in {unit_name(series.unit)}:", tuple(said)
    )


def _margins(audits: Sequence[Audit]) -> list[Sentence]:
    questions: dict[tuple[str, str, str, str], dict[str, str]] = {}
    for audit in audits:
        for m in audit.summary.margins:
            survived = f"{m.censored} of {m.n} cases" if m.censored else "no case"
            said = f"{median_text(m)}; {survived} survived every budget up to {short(m.eps)}"
            questions.setdefault((m.perturbation, m.unit, m.criterion, m.probe), {})[audit.name] = said
    return [
        Sentence(
            f"Median budget at which a case breaks (criterion: {criterion}) in the {set_name(perturbation)}, in "
            f"{unit_name(unit)}:",
            tuple(f"{audit.name}: {said.get(audit.name, 'not measured')}" for audit in audits),
        )
        for (perturbation, unit, criterion, _), said in questions.items()
    ] or [Sentence("No margins were measured.")]


def _price(audits: Sequence[Audit], lead: Sequence[Series]) -> Sentence:
    reference, *others = audits
    if not others:
        return Sentence("Only one model was audited, so this page cannot say what robust training gained or cost.")
    said = tuple(f"{other.name} {_change(reference, other, lead)}" for other in others)
    return Sentence(f"Compared with {reference.name}, case by case:", said)


def _change(reference: Audit, other: Audit, lead: Sequence[Series]) -> str:
    parts = []
    clean = paired(clean_point(reference), clean_point(other))
    if clean is None:
        return "shares no case with it"
    parts.append(
        f"changes clean Dice by {signed(clean.mean)} ({in_words(clean.ci95, sign=True)}, n = {clean.n})",
    )
    for series in lead:
        eps = telling(reference, other, series)
        gain = paired(at(reference, series, eps), at(other, series, eps)) if eps is not None else None
        if gain is not None and eps is not None:
            parts.append(
                f"Dice under {series.probe} at {short(eps)} {unit_name(series.unit)} by {signed(gain.mean)} "
                f"({in_words(gain.ci95, sign=True)}, n = {gain.n})",
            )
    return listing(parts)


def telling(reference: Audit, other: Audit, series: Series) -> float | None:
    """The budget at which two models are compared in words: the showcased one, else the middle of those they share."""
    shared = [p.eps for p in ladder(reference, series) if at(other, series, p.eps) is not None]
    show = reference.summary.showcase
    if show is not None and show.probe == series.probe and show.eps in shared:
        return show.eps
    return shared[len(shared) // 2] if shared else None
