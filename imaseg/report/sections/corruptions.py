"""Corruptions: a heat map of Dice by corruption and severity, what each severity is, and degradation scores.

Cells carry their number, and a mark where Dice is half of the clean one or less, so that colour is never alone; the
colours run from pale to dark in one hue, which colour-blind readers and grey prints order alike.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from imaseg.progress import counted
from imaseg.report.audits import Audit, Audits, owner
from imaseg.report.blocks import (
    MISSING,
    Block,
    Cell,
    Details,
    Heat,
    HeatMap,
    HeatRow,
    Sentence,
    Table,
    table,
    with_interval,
)  # fmt: skip
from imaseg.report.compare import clean_point
from imaseg.report.numerals import decimal, listing, short
from imaseg.report.sections.base import Section
from imaseg.report.works import WORKS
from imaseg.results.corruption import CorruptionEntry

_STOPS = np.array([[247, 251, 255], [198, 219, 239], [107, 174, 214], [33, 113, 181], [8, 48, 107]], float)
_SCALE = ", ".join(f"rgb({red:.0f},{green:.0f},{blue:.0f})" for red, green, blue in _STOPS)
_TORCHIO = frozenset({"bias-field", "blur", "ghosting", "motion", "spikes"})


def build(audits: Audits) -> Section | None:
    """Heat map, degradation scores, and every severity."""
    if not any(audit.summary.corruptions for audit in audits):
        return None
    scored = [audit for audit in audits if audit.summary.degradation is not None]
    blocks: list[Block] = [_heat_map(audits), *([_degradation(scored)] if scored else [])]
    blocks.append(Details("Parameters, image change and intervals of every severity", [_severities(audits)]))
    worst = tuple(f"{owner(audits, audit)}{text}" for audit in audits if (text := _costliest(audit)))
    return Section(
        80,
        "corruptions",
        "Corruptions",
        "Corruptions",
        blocks,
        "Faults of scanner and acquisition. The costliest stand first. Under each name: the size of the image change "
        "from the lowest to the highest severity, in standard deviations of the unchanged image.",
        sentences=[Sentence("The corruption that costs the most Dice:", worst)] if worst else [],
        methods=[_method(audits, scored=bool(scored))],
        works=[*([WORKS["torchio"]] if _by_torchio(audits) else []), *([WORKS["degradation"]] if scored else [])],
        limits=[
            "Corruptions are simulations of faults, one at a time; a real scanner may fail in other ways and in more "
            "than one at once. Severities are set by the size of the image change, not by how often such faults occur."
        ],
    )


def by_name(audit: Audit) -> dict[str, list[CorruptionEntry]]:
    """The corruptions of an audit, each by rising severity."""
    corruptions: dict[str, list[CorruptionEntry]] = {}
    for entry in sorted(audit.summary.corruptions, key=lambda entry: entry.severity):
        corruptions.setdefault(entry.corruption, []).append(entry)
    return corruptions


def _average(entries: Sequence[CorruptionEntry]) -> float | None:
    """Mean Dice over the severities at which it is known."""
    known = [entry.dice for entry in entries if entry.dice is not None]
    return sum(known) / len(known) if known else None


def _costliest(audit: Audit) -> str:
    """The corruption with the lowest Dice, averaged over its severities."""
    corruptions = by_name(audit)
    means = {name: mean for name, entries in corruptions.items() if (mean := _average(entries)) is not None}
    if not means:
        return ""
    name = min(means, key=lambda name: means[name])
    last = corruptions[name][-1]
    return (
        f"{last.title}, among {counted(len(means), 'corruption')} ({decimal(means[name])} left, averaged over its "
        f"severities, {decimal(last.dice)} at severity {last.severity})"
    )


def _heat_map(audits: Audits) -> HeatMap:
    """Every model that was audited so, the costliest corruption first."""
    corrupted = [audit for audit in audits if audit.summary.corruptions]
    levels = sorted({entry.severity for audit in corrupted for entry in audit.summary.corruptions})
    scored = any(audit.summary.degradation is not None for audit in corrupted)
    rows = []
    for name, title in _order(corrupted).items():
        note = _change([entry for audit in corrupted for entry in by_name(audit).get(name, [])])
        for number, audit in enumerate(corrupted):
            cells = _cells(audit, name, levels, scored=scored)
            rows.append(HeatRow(title, note, 0 if number else len(corrupted), audit.name, cells))
    clean = ", ".join(f"{a.name} {decimal(clean_point(a).dice)} (n = {clean_point(a).n})" for a in corrupted)
    caption = f"Mean foreground Dice by corruption and severity; clean: {clean}"
    return HeatMap(caption, _SCALE, levels, len(audits) > 1, scored, rows)


def _order(audits: Audits) -> dict[str, str]:
    """Title by name of every corruption, by the mean Dice that it leaves over severities and models."""
    every: dict[str, list[CorruptionEntry]] = {}
    for audit in audits:
        for name, entries in by_name(audit).items():
            every.setdefault(name, []).extend(entries)
    means = {name: _average(entries) for name, entries in every.items()}
    rank = sorted(every, key=lambda name: (means[name] is None, means[name] or 0.0, name))
    return {name: every[name][0].title for name in rank}


def _cells(audit: Audit, name: str, levels: Sequence[int], *, scored: bool) -> list[Heat]:
    entries = {entry.severity: entry for entry in by_name(audit).get(name, [])}
    cells = [_heat(audit, entries.get(level)) for level in levels]
    scores = audit.summary.degradation
    return [*cells, Heat(decimal(scores.per_corruption.get(name) if scores else None))] if scored else cells


def _clean(audit: Audit, entry: CorruptionEntry) -> float | None:
    """Mean clean Dice over the cases in which the corruption occurs."""
    occurs = {case.case for case in entry.metric_per_case}
    known = [case.dice for case in clean_point(audit).cases if case.case in occurs and case.dice is not None]
    return sum(known) / len(known) if known else clean_point(audit).dice


def _heat(audit: Audit, entry: CorruptionEntry | None) -> Heat:
    if entry is None:
        return Heat(MISSING.text)
    dice, clean = entry.dice, _clean(audit, entry)
    if dice is None or not clean:
        return Heat(decimal(dice))
    lost = float(np.clip(1 - dice / clean, 0, 1))
    paper = np.array([np.interp(lost * (len(_STOPS) - 1), range(len(_STOPS)), stop) for stop in _STOPS.T]).round()
    red, green, blue = (int(value) for value in paper)
    return Heat(decimal(dice), dice <= clean / 2, f"rgb({red},{green},{blue})", _ink(paper))


def _ink(paper: np.ndarray) -> str:
    """Black or white, whichever stands out more; the better of the two always reaches a contrast of 4.5."""
    share = paper / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ [0.2126, 0.7152, 0.0722])
    return "#000000" if (luminance + 0.05) ** 2 > 0.05 * 1.05 else "#ffffff"


def _change(entries: Sequence[CorruptionEntry]) -> str:
    """The size of the image change at the lowest and at the highest severity."""
    sizes = {entry.severity: entry.change.median for entry in entries}
    return f"image change {short(sizes[min(sizes)], 2)} to {short(sizes[max(sizes)], 2)} SD"


def _severities(audits: Audits) -> Table:
    """Every corruption at every severity: what it is, how far it changes the image, and Dice."""
    rows = [
        {
            "Model": audit.name,
            "Corruption": entry.title,
            "Severity": entry.severity,
            "Parameters": ", ".join(f"{key} {_plain(value)}" for key, value in entry.parameters.items()) or "none",
            "Image change (SD)": Cell(
                f"{short(entry.change.median)} ({short(entry.change.min)} to {short(entry.change.max)})",
                "" if entry.calibrated else "not set by the change",
            ),
            "n": entry.n,
            "Dice [95 % CI]": with_interval(entry.dice, entry.dice_ci95),
        }
        for name in _order(audits)
        for audit in audits
        for entry in by_name(audit).get(name, [])
    ]
    caption = (
        "Every corruption at every severity. Image change: root mean square of the change over the standard deviation "
        "of the unchanged image inside the body, median (lowest to highest case)"
    )
    return table(caption, rows)


def _degradation(audits: Audits) -> Table:
    """Degradation scores, one row per model."""
    titles = {entry.corruption: entry.title for audit in audits for entry in audit.summary.corruptions}
    scores = [(audit.name, score) for audit in audits if (score := audit.summary.degradation) is not None]
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
        for name, score in scores
    ]
    meanings = dict.fromkeys(score.definition.strip().rstrip(".") for _, score in scores if score.definition)
    return table(f"Degradation scores. {'; '.join(meanings)}".strip(), rows, numeric=False)


def _method(audits: Audits, *, scored: bool) -> str:
    entries = [entry for audit in audits for entry in audit.summary.corruptions]
    torchio = "TorchIO (P\u00e9rez-Garc\u00eda et al. 2021) and " if _by_torchio(audits) else ""
    before = ", applied before normalisation" if all(entry.before_normalisation for entry in entries) else ""
    return (
        f"Faults of scanner and acquisition ({listing(list(dict.fromkeys(entry.title for entry in entries)))}) were "
        f"simulated, with {torchio}MONAI where these model them, in "
        f"{counted(len({entry.severity for entry in entries}), 'level')} of severity{before}; a severity is stated by "
        "the root mean square of the image change over the standard deviation of the unchanged image inside the body."
        + (" Degradation scores follow ROOD-MRI (Boone et al. 2023)." if scored else "")
    )


def _by_torchio(audits: Audits) -> bool:
    return any(entry.corruption in _TORCHIO for audit in audits for entry in audit.summary.corruptions)


def _plain(value: object) -> str:
    """A parameter as a reader would write it."""
    if isinstance(value, float):
        return short(value)
    if isinstance(value, list | tuple):
        return " / ".join(_plain(part) for part in value)
    return str(value)
