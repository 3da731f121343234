"""Corruptions: a heat map of Dice by corruption and severity, what each severity is, and degradation scores.

Cells carry their number, and a mark where Dice is half of the clean one or less, so that colour is never alone; the
colours run from pale to dark in one hue, which colour-blind readers and grey prints order alike.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import numpy as np
from skimage.color import rgb2xyz

from imaseg.progress import counted
from imaseg.report.audits import Audit, Audits, dice_in_words, labels_are_predictions, model_column, owner
from imaseg.report.blocks import MISSING, Cell, Details, Scale, Section, Sentence, Table, Text, table, with_interval
from imaseg.report.compare import clean_point
from imaseg.report.focus import standing_of
from imaseg.report.metrics import NATIVE, ON_FILES, differs_on_files
from imaseg.report.plot import gradient, shades
from imaseg.report.wording import UNDEFINED, decimal, listing, percent, short, spread_text
from imaseg.results.base import CaseScores
from imaseg.results.corruption import CorruptionEntry

_SHADES = shades("Blues", 101)
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
        [
            Scale(gradient(_SHADES[::25]), f"clean {dice_in_words(audits)} kept", "all lost"),
            Text(f"\N{BLACK DOWN-POINTING TRIANGLE} half of the clean {dice_in_words(audits)} or less.", soft=True),
            _heat_map(held, audits),
            *([_degradation(scored)] if scored else []),
            severities,
        ],
        _LEAD,
        sentences=[Sentence(f"The corruption that costs the most {dice_in_words(audits)}:", worst)] if worst else [],
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
    left = f"{decimal(mean)} left of {decimal(clean)}, averaged over its severities"
    if clean is not None and mean >= clean:
        return f"none of {counted(number, 'corruption')} costs any ({last.title}: {left})"
    ending = f"{decimal(last.dice)} at severity {last.severity}"
    return f"{last.title}, among {counted(number, 'corruption')} ({left}, {ending}){_of_others(audit, entries)}"


def _of_others(audit: Audit, entries: Sequence[CorruptionEntry]) -> str:
    """The same over the cases that are neither broken nor empty by themselves, where many are."""
    stands = standing_of(audit)
    if not (stands.many and stands.cases):
        return ""
    means = [mean for one in entries if (mean := _mean_of(one.metric_per_case, stands.cases)) is not None]
    clean = _mean_of(clean_point(audit).cases, stands.cases)
    return f"; over {stands.others} {decimal(sum(means) / len(means) if means else None)} left of {decimal(clean)}"


def _heat_map(audits: Audits, everyone: Audits) -> Table:
    """Every model that was audited so, the costliest corruption first."""
    levels = sorted({entry.severity for audit in audits for entry in audit.summary.corruptions})
    scored = any(audit.summary.degradation is not None for audit in audits)
    relative = scored and not labels_are_predictions(everyone)
    rows = []
    for name, entries in _by_name(audits).items():
        for audit in audits:
            row = {
                "Corruption": Cell(entries[0].title, _change(entries)),
                **model_column(everyone, audit),
                **{f"Severity {level}": _shaded(audit, name, level) for level in levels},
                **({"Degradation": _score(audit, name)} if scored else {}),
                **({"of the clean Dice": _share(audit, name)} if relative else {}),
            }
            stands = standing_of(audit)
            rows.append(row)
            if stands.many and stands.cases:
                others = {f"Severity {level}": _shaded(audit, name, level, stands.cases) for level in levels}
                rows.append(row | {"Corruption": Cell(entries[0].title, stands.others)} | others | _blank(row))
    clean = ", ".join(f"{a.name} {decimal(clean_point(a).dice)} (n = {clean_point(a).n})" for a in audits)
    fallen = "".join(f". {owner(everyone, a)}{standing_of(a).sentence[:-1]}" for a in audits if standing_of(a).many)
    caption = f"Mean foreground {dice_in_words(everyone)} by corruption and severity; clean: {clean}"
    return table(caption + fallen + _limited(audits), rows, "heat")


def _blank(row: Mapping[str, object]) -> dict[str, Cell]:
    """Scores are of all cases."""
    return {head: Cell("") for head in row if head in ("Degradation", "of the clean Dice")}


def _limited(audits: Audits) -> str:
    """What a mark means, where any corruption came to its limit."""
    stopped = any(entry.reached < entry.n for audit in audits for entry in audit.summary.corruptions)
    return (
        ". Limit reached: the corruption came to its largest sensible size before the change that the severity asks for"
        if stopped
        else ""
    )


def _score(audit: Audit, name: str) -> str:
    scores = audit.summary.degradation
    return decimal(scores.per_corruption.get(name) if scores else None)


def _share(audit: Audit, name: str) -> str:
    """The same as a share of the clean Dice."""
    scores = audit.summary.degradation
    if not standing_of(audit).cases:
        return "no case is found"
    value = scores.relative.per_corruption.get(name) if scores else None
    return _relative(value)


def _relative(value: float | None) -> str:
    return UNDEFINED if value is None else percent(value, 2)


def _clean(audit: Audit, entry: CorruptionEntry) -> float | None:
    """Mean clean Dice over the cases in which the corruption occurs."""
    return _mean_of(clean_point(audit).cases, {case.case for case in entry.metric_per_case}) or clean_point(audit).dice


def _mean_of(cases: Iterable[CaseScores], chosen: Collection[str]) -> float | None:
    known = [case.dice for case in cases if case.case in chosen and case.dice is not None]
    return sum(known) / len(known) if known else None


def _shaded(audit: Audit, name: str, level: int, only: Sequence[str] | None = None) -> Cell:
    """Dice on the colour of the share that is lost, marked where that is half or more; of all cases, or of some."""
    here = [e for e in audit.summary.corruptions if (e.corruption, e.severity) == (name, level)]
    if not here:
        return MISSING
    dice, clean = here[0].dice, _clean(audit, here[0])
    if only is not None:
        chosen = {*only} & {case.case for case in here[0].metric_per_case}
        dice, clean = _mean_of(here[0].metric_per_case, chosen), _mean_of(clean_point(audit).cases, chosen)
    stopped = 0 if only is not None else here[0].n - here[0].reached
    limit = f"limit reached in {stopped} of {here[0].n}" if stopped else ""
    if dice is None or not clean:
        return Cell(decimal(dice), limit)
    paper = _SHADES[round(100 * float(np.clip(1 - dice / clean, 0, 1)))]
    # Black or white, whichever stands out more; the better of the two always reaches a contrast of 4.5.
    ink = "#000000" if (rgb2xyz(paper / 255)[1] + 0.05) ** 2 > 0.05 * 1.05 else "#ffffff"
    mark = " \N{BLACK DOWN-POINTING TRIANGLE}" if dice <= clean / 2 else ""
    return Cell(decimal(dice) + mark, limit, colours=f"background:{gradient(paper[None])};color:{ink}")


def _change(entries: Sequence[CorruptionEntry]) -> str:
    """The size of the image change at the lowest and at the highest severity."""
    first, last = (short(entries[place].change.median, 2) for place in (0, -1))
    return f"image change {first} to {last} SD"


def _severities(audits: Audits) -> Table:
    """Every corruption at every severity: what it is, how far it changes the image, and Dice."""
    there = differs_on_files(audits)
    rows = [
        {
            "Model": audit.name,
            "Corruption": entry.title,
            "Severity": entry.severity,
            "Parameters": ", ".join(_parameter(key, value) for key, value in entry.parameters.items()) or "none",
            "Image change (SD)": Cell(spread_text(entry.change), "; ".join(_remarks(entry))),
            "n": entry.n,
            "Dice [95 % CI]": with_interval(entry.dice, entry.dice_ci95),
            **({ON_FILES: decimal(entry.foreground_mean.get(NATIVE))} if there else {}),
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


def _remarks(entry: CorruptionEntry) -> Iterator[str]:
    """What keeps the change from being the one that the severity asks for."""
    if not entry.calibrated:
        yield "not set by the change"
    if entry.reached < entry.n:
        yield f"limit reached in {entry.n - entry.reached} of {entry.n}"


def _degradation(audits: Audits) -> Table:
    """Degradation scores, one row per model."""
    titles = {entry.corruption: entry.title for audit in audits for entry in audit.summary.corruptions}
    own = labels_are_predictions(audits)  # of which the clean one is 1
    scores = {audit.name: audit.summary.degradation for audit in audits if audit.summary.degradation is not None}
    lost = {audit.name for audit in audits if not standing_of(audit).cases}
    rows = [
        {
            "Model": name,
            "Mean [95 % CI]": with_interval(score.mean, score.ci95),
            **({} if own else {"Relative": UNDEFINED if name in lost else _relative(score.relative.mean)}),
            "Unweighted": decimal(score.unweighted.mean),
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


_UNITS = {"mm": "mm", "std": "SD", "degrees": "degrees"}


def _parameter(name: str, value: object) -> str:
    """A parameter with its unit, which its name ends in.

    >>> _parameter("sigma_std", 0.05), _parameter("largest_gain", 1.2), _parameter("mm", 3.0)
    ('sigma 0.05 SD', 'largest gain 1.2', '3 mm')
    """
    *words, last = name.split("_")
    unit = _UNITS.get(last, "")
    said = " ".join(words if unit else [*words, last]).replace("std", "SD")
    return f"{said} {_plain(value)} {unit}".strip()


def _plain(value: object) -> str:
    """A parameter as a reader would write it."""
    if isinstance(value, list | tuple):
        return " / ".join(map(_plain, value))
    return short(value) if isinstance(value, float) else str(value)
