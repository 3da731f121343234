"""Corruptions: a heat map of Dice by corruption and severity, what each severity is, and degradation scores.

Cells carry their number, and a mark where Dice is half of the clean one or less, so that colour is never alone; the
colours run from pale to dark in one hue, which colour-blind readers and grey prints order alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from imaseg.report.compare import clean_point
from imaseg.report.numerals import bracket, decimal, short
from imaseg.report.parts import MISSING, Cell, Table, row
from imaseg.report.read import Audit
from imaseg.report.schema_parts import Corruption

_STOPS = np.array([[247, 251, 255], [198, 219, 239], [107, 174, 214], [33, 113, 181], [8, 48, 107]], float)
SCALE = ", ".join(f"rgb({red:.0f},{green:.0f},{blue:.0f})" for red, green, blue in _STOPS)
"""For the style sheet: from no loss to all of the clean Dice lost."""


@dataclass(frozen=True)
class Heat:
    """One cell of a heat map: its number, whether Dice is halved, paper and ink (none where nothing was measured)."""

    text: str
    halved: bool = False
    paper: str = ""
    ink: str = ""


@dataclass(frozen=True)
class HeatRow:
    """A corruption of one model; `span` models share the name of the corruption, which the first of them carries."""

    title: str
    note: str
    span: int
    model: str
    cells: list[Heat]


@dataclass(frozen=True)
class HeatMap:
    """Corruptions down, severities across, the models of a corruption below each other."""

    caption: str
    levels: list[int]
    several: bool
    scored: bool
    rows: list[HeatRow]


def severities(audit: Audit) -> dict[str, list[Corruption]]:
    """The corruptions of an audit by name, each by rising severity."""
    found: dict[str, list[Corruption]] = {}
    for one in sorted(audit.summary.corruptions, key=lambda one: one.severity):
        found.setdefault(one.corruption, []).append(one)
    return found


def title_of(one: Corruption) -> str:
    """What a corruption is called on the page."""
    return one.title or one.corruption.replace("-", " ")


def average(each: Sequence[Corruption]) -> float | None:
    """Mean Dice over the severities at which it is known."""
    known = [dice for one in each if (dice := one.foreground_mean.get("dice")) is not None]
    return sum(known) / len(known) if known else None


def heat_map(audits: Sequence[Audit]) -> HeatMap | None:
    """Every model that was audited so, the costliest corruption first; None if there is none."""
    known = [audit for audit in audits if audit.summary.corruptions]
    if not known:
        return None
    levels = sorted({one.severity for audit in known for one in audit.summary.corruptions})
    scored = any(audit.summary.degradation is not None for audit in known)
    rows = []
    for name, title in _order(known).items():
        note = _change([one for audit in known for one in severities(audit).get(name, [])])
        for place, audit in enumerate(known):
            cells = _cells(audit, name, levels, scored=scored)
            rows.append(HeatRow(title, note, 0 if place else len(known), audit.name, cells))
    clean = ", ".join(
        f"{audit.name} {decimal(clean_point(audit).dice)} (n = {clean_point(audit).n})" for audit in known
    )
    caption = f"Mean foreground Dice by corruption and severity; clean: {clean}"
    return HeatMap(caption, levels, len(audits) > 1, scored, rows)


def _order(audits: Sequence[Audit]) -> dict[str, str]:
    """Title by name of every corruption, by the mean Dice that it leaves over severities and models."""
    every: dict[str, list[Corruption]] = {}
    for audit in audits:
        for name, each in severities(audit).items():
            every.setdefault(name, []).extend(each)
    means = {name: average(each) for name, each in every.items()}
    rank = sorted(every, key=lambda name: (means[name] is None, means[name] or 0.0, name))
    return {name: title_of(every[name][0]) for name in rank}


def _cells(audit: Audit, name: str, levels: Sequence[int], *, scored: bool) -> list[Heat]:
    each = {one.severity: one for one in severities(audit).get(name, [])}
    cells = [_heat(each.get(level), _clean(audit, each.get(level))) for level in levels]
    scores = audit.summary.degradation
    return [*cells, Heat(decimal(scores.per_corruption.get(name) if scores else None))] if scored else cells


def _clean(audit: Audit, one: Corruption | None) -> float | None:
    """Mean clean Dice over the cases in which the corruption occurs."""
    occurs = {case.case for case in one.metric_per_case} if one is not None else set()
    known = [case.dice for case in clean_point(audit).cases if case.case in occurs and case.dice is not None]
    return sum(known) / len(known) if known else clean_point(audit).dice


def _heat(one: Corruption | None, clean: float | None) -> Heat:
    if one is None:
        return Heat(MISSING.text)
    dice = one.foreground_mean.get("dice")
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


def _change(each: Sequence[Corruption]) -> str:
    """The size of the image change at the lowest and at the highest severity."""
    known = {
        one.severity: one.change.median for one in each if one.change is not None and one.change.median is not None
    }
    return f"image change {short(known[min(known)], 2)} to {short(known[max(known)], 2)} SD" if known else ""


def corruption_table(audits: Sequence[Audit]) -> Table | None:
    """Every corruption at every severity: what it is, how far it changes the image, and Dice; None without any."""
    rows = [
        row(
            audit.name,
            title_of(one),
            str(one.severity),
            ", ".join(f"{name} {_plain(value)}" for name, value in one.parameters.items()) or "not recorded",
            Cell(_span(one), "" if one.calibrated else "not set by the change"),
            str(one.n),
            Cell(decimal(one.foreground_mean.get("dice")), bracket(one.dice_ci95)),
        )
        for name in _order(audits)
        for audit in audits
        for one in severities(audit).get(name, [])
    ]
    caption = (
        "Every corruption at every severity. Image change: root mean square of the change over the standard deviation "
        "of the unchanged image inside the body, median (lowest to highest case)"
    )
    head = ["Model", "Corruption", "Severity", "Parameters", "Image change (SD)", "n", "Dice [95 % CI]"]
    return Table(caption, head, rows) if rows else None


def degradation_table(audits: Sequence[Audit]) -> Table | None:
    """Degradation scores, one row per model; None without any."""
    known = [(audit.name, score) for audit in audits if (score := audit.summary.degradation) is not None]
    if not known:
        return None
    titles = {one.corruption: title_of(one) for audit in audits for one in audit.summary.corruptions}
    rows = [
        row(
            name,
            Cell(decimal(one.mean), bracket(one.ci95)),
            Cell(decimal(one.worst), titles.get(one.worst_corruption or "", "")),
            "; ".join(f"{left.replace('-', ' ')}: {why}" for left, why in one.left_out.items()) or "none",
        )
        for name, one in known
    ]
    meant = list(dict.fromkeys(one.definition.strip().rstrip(".") for _, one in known if one.definition))
    caption = f"Degradation scores. {'; '.join(meant)}".strip()
    return Table(caption, ["Model", "Mean [95 % CI]", "Worst corruption", "Corruptions left out"], rows, numeric=False)


def _span(one: Corruption) -> str:
    change = one.change
    if change is None or change.median is None:
        return "not recorded"
    ends = f" ({short(change.min)} to {short(change.max)})" if None not in (change.min, change.max) else ""
    return f"{short(change.median)}{ends}"


def _plain(value: object) -> str:
    """A parameter as a reader would write it."""
    if isinstance(value, float):
        return short(value)
    if isinstance(value, list | tuple):
        return " / ".join(_plain(one) for one in value)
    return str(value)
