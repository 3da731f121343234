"""Corruptions: a heat map of Dice by corruption and severity, what each severity is, and degradation scores.

Cells carry their number, and a mark where Dice is half of the clean one or less, so that colour is never alone; the
colours run from pale to dark in one hue, which colour-blind readers and grey prints order alike.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from skimage.color import rgb2xyz

from imaseg.progress import counted
from imaseg.report.audits import Audit, Audits, model_column, owner
from imaseg.report.blocks import MISSING, Cell, Details, Scale, Section, Sentence, Table, Text, table, with_interval
from imaseg.report.compare import clean_point
from imaseg.report.plot import gradient, shades
from imaseg.report.wording import decimal, listing, short, spread_text
from imaseg.results.corruption import CorruptionEntry

_SHADES = shades("Blues", 101)
_KEY = Scale(gradient(_SHADES[::25]), "clean Dice kept", "all lost")
_HALVED = Text("\N{BLACK DOWN-POINTING TRIANGLE} half of the clean Dice or less.", soft=True)
_TORCHIO = frozenset({"bias-field", "blur", "ghosting", "motion", "spikes"})
_LEAD = (
    "Faults of scanner and acquisition. The costliest stand first. Under each name: the size of the image change from "
    "the lowest to the highest severity, in standard deviations of the unchanged image."
)
_LIMIT = (
    "Corruptions are simulations of faults, one at a time; a real scanner may fail in other ways and in more than one "
    "at once. Severities are set by the size of the image change, not by how often such faults occur."
)


def build(audits: Audits) -> Section | None:
    """Heat map, degradation scores, and every severity."""
    held = [audit for audit in audits if audit.summary.corruptions]
    if not held:
        return None
    entries = [entry for audit in held for entry in audit.summary.corruptions]
    scored = [audit for audit in audits if audit.summary.degradation is not None]
    torchio = any(entry.corruption in _TORCHIO for entry in entries)
    severities = Details("Parameters, image change and intervals of every severity", [_severities(held)])
    worst = tuple(f"{owner(audits, audit)}{text}" for audit in held if (text := _costliest(audit)))
    return Section(
        80,
        "corruptions",
        "Corruptions",
        [_KEY, _HALVED, _heat_map(held, audits), *([_degradation(scored)] if scored else []), severities],
        _LEAD,
        sentences=[Sentence("The corruption that costs the most Dice:", worst)] if worst else [],
        methods=[_method(entries, torchio=torchio, scored=bool(scored))],
        works=[key for key, used in (("torchio", torchio), ("degradation", scored)) if used],
        limits=[_LIMIT],
    )


def _by_name(audits: Audits) -> dict[str, list[CorruptionEntry]]:
    """The corruptions of some audits by rising severity, the one that leaves the lowest mean Dice first."""
    corruptions: dict[str, list[CorruptionEntry]] = {}
    for entry in sorted((e for audit in audits for e in audit.summary.corruptions), key=lambda entry: entry.severity):
        corruptions.setdefault(entry.corruption, []).append(entry)
    return dict(sorted(corruptions.items(), key=lambda pair: (_average(pair[1]), pair[0])))


def _average(entries: Sequence[CorruptionEntry]) -> float:
    """Mean Dice over the severities at which it is known; infinite where it is not."""
    known = [entry.dice for entry in entries if entry.dice is not None]
    return sum(known) / len(known) if known else float("inf")


def _costliest(audit: Audit) -> str:
    """The corruption with the lowest Dice, averaged over its severities; or that none costs any."""
    entries, *_ = corruptions = list(_by_name([audit]).values())
    last, mean, clean, number = entries[-1], _average(entries), _clean(audit, entries[-1]), len(corruptions)
    if not np.isfinite(mean):
        return ""
    left = f"{decimal(mean)} left, averaged over its severities"
    if clean is not None and mean >= clean:
        return f"none of {counted(number, 'corruption')} costs any ({last.title}: {left}; {decimal(clean)} clean)"
    ending = f"{decimal(last.dice)} at severity {last.severity}"
    return f"{last.title}, among {counted(number, 'corruption')} ({left}, {ending})"


def _heat_map(audits: Audits, everyone: Audits) -> Table:
    """Every model that was audited so, the costliest corruption first."""
    levels = sorted({entry.severity for audit in audits for entry in audit.summary.corruptions})
    scored = any(audit.summary.degradation is not None for audit in audits)
    rows = [
        {
            "Corruption": Cell(entries[0].title, _change(entries)),
            **model_column(everyone, audit),
            **{f"Severity {level}": _shaded(audit, name, level) for level in levels},
            **({"Degradation": _score(audit, name)} if scored else {}),
        }
        for name, entries in _by_name(audits).items()
        for audit in audits
    ]
    clean = ", ".join(f"{a.name} {decimal(clean_point(a).dice)} (n = {clean_point(a).n})" for a in audits)
    return table(f"Mean foreground Dice by corruption and severity; clean: {clean}", rows, "heat")


def _score(audit: Audit, name: str) -> str:
    scores = audit.summary.degradation
    return decimal(scores.per_corruption.get(name) if scores else None)


def _clean(audit: Audit, entry: CorruptionEntry) -> float | None:
    """Mean clean Dice over the cases in which the corruption occurs."""
    occurs = {case.case for case in entry.metric_per_case}
    known = [case.dice for case in clean_point(audit).cases if case.case in occurs and case.dice is not None]
    return sum(known) / len(known) if known else clean_point(audit).dice


def _shaded(audit: Audit, name: str, level: int) -> Cell:
    """Dice on the colour of the share that is lost, marked where that is half or more."""
    here = [e for e in audit.summary.corruptions if (e.corruption, e.severity) == (name, level)]
    if not here:
        return MISSING
    dice, clean = here[0].dice, _clean(audit, here[0])
    if dice is None or not clean:
        return Cell(decimal(dice))
    paper = _SHADES[round(100 * float(np.clip(1 - dice / clean, 0, 1)))]
    # Black or white, whichever stands out more; the better of the two always reaches a contrast of 4.5.
    ink = "#000000" if (rgb2xyz(paper / 255)[1] + 0.05) ** 2 > 0.05 * 1.05 else "#ffffff"
    mark = " \N{BLACK DOWN-POINTING TRIANGLE}" if dice <= clean / 2 else ""
    return Cell(decimal(dice) + mark, colours=f"background:{gradient(paper[None])};color:{ink}")


def _change(entries: Sequence[CorruptionEntry]) -> str:
    """The size of the image change at the lowest and at the highest severity."""
    first, last = (short(entries[place].change.median, 2) for place in (0, -1))
    return f"image change {first} to {last} SD"


def _severities(audits: Audits) -> Table:
    """Every corruption at every severity: what it is, how far it changes the image, and Dice."""
    rows = [
        {
            "Model": audit.name,
            "Corruption": entry.title,
            "Severity": entry.severity,
            "Parameters": ", ".join(f"{key} {_plain(value)}" for key, value in entry.parameters.items()) or "none",
            "Image change (SD)": Cell(spread_text(entry.change), "" if entry.calibrated else "not set by the change"),
            "n": entry.n,
            "Dice [95 % CI]": with_interval(entry.dice, entry.dice_ci95),
        }
        for name in _by_name(audits)
        for audit in audits
        for entry in _by_name([audit]).get(name, [])
    ]
    caption = (
        "Every corruption at every severity. Image change: root mean square of the change over the standard deviation "
        "of the unchanged image inside the body, median (lowest to highest case)"
    )
    return table(caption, rows)


def _degradation(audits: Audits) -> Table:
    """Degradation scores, one row per model."""
    titles = {entry.corruption: entry.title for audit in audits for entry in audit.summary.corruptions}
    scores = {audit.name: audit.summary.degradation for audit in audits if audit.summary.degradation is not None}
    rows = [
        {
            "Model": name,
            "Mean [95 % CI]": with_interval(score.mean, score.ci95),
            "Worst corruption": Cell(decimal(score.worst), titles.get(score.worst_corruption or "", "")),
            "Corruptions left out": "; ".join(
                f"{left.replace('-', ' ')}: {why}" for left, why in score.left_out.items()
            )
            or "none",
        }
        for name, score in scores.items()
    ]
    meanings = dict.fromkeys(score.definition.strip().rstrip(".") for score in scores.values())
    return table(f"Degradation scores. {'; '.join(filter(None, meanings))}".strip(), rows, "wrap")


def _method(entries: Sequence[CorruptionEntry], *, torchio: bool, scored: bool) -> str:
    tools = "TorchIO (P\u00e9rez-Garc\u00eda et al. 2021) and MONAI" if torchio else "MONAI"
    before = ", applied before normalisation" if all(entry.before_normalisation for entry in entries) else ""
    return (
        f"Faults of scanner and acquisition ({listing(entry.title for entry in entries)}) were "
        f"simulated, with {tools} where these model them, in "
        f"{counted(len({entry.severity for entry in entries}), 'level')} of severity{before}; a severity is stated by "
        "the root mean square of the image change over the standard deviation of the unchanged image inside the body."
        + (" Degradation scores follow ROOD-MRI (Boone et al. 2023)." if scored else "")
    )


def _plain(value: object) -> str:
    """A parameter as a reader would write it."""
    if isinstance(value, list | tuple):
        return " / ".join(map(_plain, value))
    return short(value) if isinstance(value, float) else str(value)
