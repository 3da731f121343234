"""Which cases the page shows: for each model those with the lowest Dice under the showcased attack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from imaseg.report.numerals import UNDEFINED, attack_name, decimal, set_name, short, unit_name
from imaseg.report.pictures import outline_colour, pictures
from imaseg.report.read import Audit
from imaseg.report.schema import Probe
from imaseg.report.slices import read_slice

_AT_MOST = 9


@dataclass(frozen=True)
class Panel:
    """One picture with what it shows, for eyes and for screen readers."""

    image: str
    caption: str
    alt: str


@dataclass(frozen=True)
class Sight:
    """One case of one model as three panels, the end of the perturbation's colour scale, and its anchor."""

    title: str
    facts: str
    panels: tuple[Panel, ...]
    scale: str
    key: str
    model: str
    case: str


@dataclass(frozen=True)
class Gallery:
    """Cases under one heading, or the reason why there are none."""

    title: str
    note: str
    sights: list[Sight]


def galleries(audits: Sequence[Audit]) -> list[Gallery]:
    """With several models, the reference's worst case in all of them; then up to three worst cases of every model."""
    each = max(1, min(3, _AT_MOST // len(audits)))
    case = _common(audits)
    own = [_gallery(audit, each, case, place) for place, audit in enumerate(audits)]
    if case is None:
        return own
    sights = [_sight(audit, case, f"{audit.name}: {case}", f"case-{place}-0") for place, audit in enumerate(audits)]
    note = f"{case}, the stored case on which {audits[0].name} does worst, under the same probe and budget."
    return [Gallery("One case, every model", note, sights), *own]


def anchors(shown: Sequence[Gallery]) -> dict[tuple[str, str], str]:
    """Anchor of every picture, by model and case."""
    return {(sight.model, sight.case): sight.key for gallery in shown for sight in gallery.sights}


def _common(audits: Sequence[Audit]) -> str | None:
    """The reference's worst case that every model stored, if all show the same probe and budget."""
    probes = [showcased(audit) for audit in audits]
    if len(audits) < 2 or len({(p.probe, p.perturbation, p.unit, p.eps) if p else None for p in probes}) > 1:
        return None
    for _, case in _ranked(audits[0]):
        if all(case in audit.slices and case in {name for _, name in _ranked(audit)} for audit in audits):
            return case
    return None


def legend(audits: Sequence[Audit]) -> list[tuple[str, str]]:
    """Name and outline colour of every labelled class."""
    names: dict[int, str] = {}
    for audit in audits:
        for value, name in audit.summary.data.labels.items():
            if value.isdigit() and int(value):
                names.setdefault(int(value), name)
    return [(name, outline_colour(value)) for value, name in sorted(names.items())]


def showcased(audit: Audit) -> Probe | None:
    """The probe whose slices are stored; None if the audit does not say or does not hold it."""
    show = audit.summary.showcase
    if show is None:
        return None
    return next((p for p in audit.summary.probes if p.probe == show.probe and p.eps == show.eps), None)


def _gallery(audit: Audit, each: int, above: str | None, place: int) -> Gallery:
    probe = showcased(audit)
    if probe is None:
        return Gallery(audit.name, "This audit does not say which attack its slices show; none are drawn.", [])
    stored = [case for _, case in _ranked(audit) if case in audit.slices]
    if not stored:
        return Gallery(audit.name, "This audit folder holds no slices.", [])
    seed = "not recorded" if probe.seed is None else probe.seed
    note = (
        f"Lowest mean foreground Dice among {len(_ranked(audit))} cases under {attack_name(probe.attack)} "
        f"({probe.probe}, {set_name(probe.perturbation)}, eps {_budget(probe)}, seed {seed})."
    )
    if above in stored[:each]:
        note += f" {above} is shown above."
    shown = [case for case in stored[:each] if case != above]
    sights = [_sight(audit, case, case, f"case-{place}-{rank}") for rank, case in enumerate(shown, start=1)]
    return Gallery(audit.name, note, sights)


def _ranked(audit: Audit) -> list[tuple[float, str]]:
    """Attacked Dice and id of every case, the worst first."""
    probe = showcased(audit)
    return sorted((case.dice, case.case) for case in probe.metric_per_case if case.dice is not None) if probe else []


def _budget(probe: Probe) -> str:
    return f"{short(probe.eps)} {unit_name(probe.unit)}"


def _sight(audit: Audit, case: str, title: str, key: str) -> Sight:
    probe = showcased(audit)
    clean = next((c.dice for c in audit.summary.metric_per_case if c.case == case), None)
    attacked = next((dice for dice, name in _ranked(audit) if name == case), None)
    budget = _budget(probe) if probe else UNDEFINED
    view = read_slice(audit.slices[case])
    first, middle, last = pictures(view)
    scale = short(view.scale)
    whole = f"whole case {case}, model {audit.name}"
    panels = (
        Panel(
            first,
            f"Clean image; Dice {decimal(clean)}",
            f"Clean slice with the outlines of label and prediction; Dice {decimal(clean)} over the {whole}.",
        ),
        Panel(
            middle,
            "Perturbation",
            f"Perturbation of the same slice, from minus {scale} (blue) over 0 (white) to plus {scale} (red).",
        ),
        Panel(
            last,
            f"Attacked image; Dice {decimal(attacked)}",
            f"Attacked slice, eps {budget}, with the outlines of label and prediction; Dice {decimal(attacked)} "
            f"over the {whole}.",
        ),
    )
    facts = f"Dice over the whole case: {decimal(clean)} clean, {decimal(attacked)} attacked (eps {budget})."
    return Sight(title, facts, panels, scale, key, audit.name, case)
