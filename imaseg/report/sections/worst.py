"""Worst cases: which cases fail first, and for each model pictures of those with the lowest Dice under attack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from imaseg.progress import counted
from imaseg.report.audits import Audit, Audits, dice_in_words, dice_word, owner, reference_word
from imaseg.report.blocks import Block, Cell, Gallery, Legend, Panel, Section, Sight, Table, Text, table
from imaseg.report.breaking import Break, breaks
from imaseg.report.compare import Series, holders, ladder, main_series, showcased
from imaseg.report.drawing.pictures import outlined_classes, pictures, read_slice
from imaseg.report.explorer import explorers
from imaseg.report.focus import found_nothing, standing_of
from imaseg.report.margin_sets import margin_sets
from imaseg.report.margin_words import margin_text
from imaseg.report.other_cases import dice_by_case, other_cases
from imaseg.report.voxel_maps import maps_by_set
from imaseg.report.wording import amount, attack_name, decimal, set_name, short, unit_name
from imaseg.results.attack import AttackEntry

_PICTURES, _FIRST = 9, 10
_PICTURES_LEAD = (
    "One slice of each case. Images share one grey window per case. Perturbation: red added, blue removed, on a scale "
    "symmetric about 0 in the units of the model's input. The Dice stated is that of the whole case, not of the slice."
)


class _Showcase(NamedTuple):
    """An audit that stored pictures of an attack: Dice and picture of every case, the worst first."""

    number: int
    audit: Audit
    probe: AttackEntry
    ranked: dict[str, float]
    stored: dict[str, Path]

    @property
    def budget(self) -> str:
        return amount(self.probe.eps, self.probe.unit)

    def said(self, case: str) -> tuple[str, str]:
        """What is known of a case, unchanged and attacked; a Dice only where something is found in it unchanged."""
        before = next((c.dice for c in self.audit.summary.metric_per_case if c.case == case), None)
        after, word = self.ranked[case], dice_word([self.audit])
        nothing = case in found_nothing(self.audit)
        if word == "Dice":
            return f"{'nothing found, ' * nothing}Dice {decimal(before)}", f"Dice {decimal(after)}"
        if not nothing:
            return "something found", f"agreement {decimal(after)}"
        return "nothing found", "nothing found" if after == 1 else "something found"

    def why(self, case: str) -> str:
        """Why it is shown, as a phrase after its name."""
        stands, word = standing_of(self.audit), dice_word([self.audit])
        if case in stands.fallen:
            return "no case is left to break; " + " before, then ".join(self.said(case))
        level = self.ranked[case]
        alike = sum(self.ranked.get(one) == level for one in stands.cases)
        word = word if word == "Dice" else word.lower()
        tie = f", one of {counted(alike, 'case')} at {decimal(level)}" if alike > 1 else ""
        return f"{word} under attack is lowest there{tie}"


def build(audits: Audits) -> Section | None:
    """Table of the first to fail, and pictures."""
    series, galleries = main_series(audits), _galleries(audits)
    blocks: list[Block] = []
    if series is not None:
        anchors = {(sight.model, sight.case): sight.key for gallery in galleries for sight in gallery.sights}
        blocks.append(_first_to_fail(audits, series, anchors))
    if galleries:
        legend = Legend(outlined_classes(audits), dashed=reference_word(audits))
        blocks += [
            legend,
            *explorers(audits, _explored(audits, galleries)),
            Text(_PICTURES_LEAD, soft=True),
            *galleries,
        ]
    return Section(90, "worst", "Worst cases", blocks) if blocks else None


def _first_to_fail(audits: Audits, series: Series, anchors: Mapping[tuple[str, str], str]) -> Table:
    """The first cases of each model, by the budget that halves their Dice."""
    word = dice_word(audits)
    rows = [
        {
            "Model": audit.name,
            "Order": rank,
            "Case": case.case,
            f"Clean {word}": decimal(case.clean),
            f"{word} halves at ({unit_name(series.unit)})": _halved(
                case, [point.eps for point in ladder(audit, series)]
            ),
            f"Lowest {word}": decimal(case.lowest),
            f"Margin ({unit_name(series.unit)})": _margin(audit, series, case.case),
            "Picture": Cell("see picture", link=link) if link else Cell("not shown", missing=True),
        }
        for audit in holders(audits, series)
        for rank, case in enumerate(_ranked(audit, series)[: max(3, _FIRST // len(audits))], start=1)
        for link in [anchors.get((audit.name, case.case))]
    ]
    caption = (
        f"The cases that fail first in the {series.set} (probe {series.probe}), by the budget at which "
        f"their {dice_in_words(audits)} is half of its clean value, straight lines between the audited budgets"
    )
    return table("".join([caption, *(_apart(audits, audit, series) for audit in holders(audits, series))]), rows)


def _ranked(audit: Audit, series: Series) -> list[Break]:
    """Those that the smallest budget breaks, which it cannot tell apart, by their margins where these are known."""
    first = ladder(audit, series)[0].eps
    margins = next((m for m in margin_sets(audit) if m.question.searched == series.searched), None)

    def order(case: Break) -> tuple[float, float, float]:
        if case.eps is None or case.eps >= first:
            return (1.0 if case.eps is None else 0.0, case.eps or 0.0, case.lowest)
        known = None if margins is None else margins.margin(None, case.case)
        return (-1.0, float("inf") if known is None else known.margin, case.lowest)

    return sorted(breaks(audit, series), key=order)


def _apart(audits: Audits, audit: Audit, series: Series) -> str:
    """Which cases are left out, and how many the smallest budget does not tell apart."""
    stands, first, who = standing_of(audit), ladder(audit, series)[0].eps, owner(audits, audit)
    below = sum(case.eps is not None and case.eps < first for case in breaks(audit, series))
    left = f". {who}Left out: {stands.said}" if stands.fallen else ""
    alike = f". {who}{below} halve below the smallest budget, which does not tell them apart" if below > 1 else ""
    return left + alike


def _halved(case: Break, rungs: Sequence[float]) -> str:
    if case.eps is None:
        return f"above {short(rungs[-1])}"
    return short(case.eps) if case.eps >= rungs[0] else f"below {short(rungs[0])}"


def _margin(audit: Audit, series: Series, case: str) -> str:
    """The margin that was searched for in the same set and unit."""
    found = [
        margin_text(margin)
        for margins in margin_sets(audit)
        if margins.question.searched == series.searched and (margin := margins.margin(None, case)) is not None
    ]
    return found[0] if found else "not measured"


def _galleries(audits: Audits) -> list[Gallery]:
    """With several models, the reference's worst case in all of them; then up to three worst cases of every model."""
    every = [_showcase(number, audit) for number, audit in enumerate(audits)]
    shown = [each for each in every if each is not None and each.stored]
    alike = len(shown) == len(audits) and not any(other_cases(audits[0], audit) for audit in audits)
    case = _common(shown) if alike else None
    most = max(1, min(3, _PICTURES // len(audits)))
    own = [_gallery(each, most, case) for each in shown]
    if case is None:
        return own
    sights = [_sight(each, case, f"{each.audit.name}: {case}", 0) for each in shown]
    note = f"{case}, the stored case on which {audits[0].name} does worst, under the same probe and budget."
    return [Gallery("One case, every model", note, sights), *own]


def _explored(audits: Audits, galleries: Sequence[Gallery]) -> list[tuple[Audit, str, str]]:
    """Audit, case and Dice for the viewer: the first of each gallery, one with margins of voxels, the rest."""
    by_name = {audit.name: audit for audit in audits}
    rows = [gallery.sights[:1] for gallery in galleries]
    cases = {(sight.model, sight.case): sight.facts for sights in rows for sight in sights}
    for shown in (each for number, audit in enumerate(audits) if (each := _showcase(number, audit)) is not None):
        mapped = {case for maps in maps_by_set(shown.audit).values() for case in maps} & shown.stored.keys()
        for case in sorted(mapped)[:1]:
            cases.setdefault((shown.audit.name, case), _facts(shown, case))
    cases |= {(sight.model, sight.case): sight.facts for gallery in galleries for sight in gallery.sights}
    return [(by_name[model], case, facts) for (model, case), facts in cases.items()]


def _facts(shown: _Showcase, case: str) -> str:
    clean, attacked = shown.said(case)
    return f"Over the whole case: {clean}, unchanged; {attacked}, attacked (eps {shown.budget})."


def _showcase(number: int, audit: Audit) -> _Showcase | None:
    """Those that the attack broke first, by Dice, then by how much they lost; those that needed no attack last."""
    probe = showcased(audit)
    if probe is None:
        return None
    clean, fallen = dice_by_case(audit.summary.metric_per_case), standing_of(audit).fallen
    attacked = dice_by_case(probe.metric_per_case)
    # Of equally bad cases those that lost most come first: what failed before the attack shows nothing of it.
    ranked = sorted(attacked, key=lambda case: (case in fallen, attacked[case], -clean.get(case, 0.0), case))
    stored = {case: path for case in ranked if (path := audit.slice_of(case)) is not None}
    return _Showcase(number, audit, probe, {case: attacked[case] for case in ranked}, stored)


def _common(shown: Sequence[_Showcase]) -> str | None:
    """The reference's worst case that every model stored, if all show the same probe and budget."""
    probes = {(e.probe.probe, e.probe.in_set, e.probe.unit, e.probe.eps) for e in shown}
    if len(shown) < 2 or len(probes) > 1:
        return None
    return next((case for case in shown[0].ranked if all(case in each.stored for each in shown)), None)


def _gallery(shown: _Showcase, most: int, above: str | None) -> Gallery:
    probe, worst = shown.probe, list(shown.stored)[:most]
    named = set_name(probe.perturbation, probe.within, probe.made_on)
    stands, word = standing_of(shown.audit), dice_word([shown.audit])
    among = counted(len(shown.ranked), "case")
    if stands.fallen:
        among = f"{stands.others} ({stands.said})" if stands.cases else f"{among}, all of which need no change to fail,"
    lowest = "Lowest mean foreground Dice" if word == "Dice" else "Lowest agreement"
    note = (
        f"{lowest} among {among} under {attack_name(probe.attack)} "
        f"({probe.probe}, {named}, eps {shown.budget}, seed {probe.seed})."
    ) + (f" {above} is shown above." if above in worst else "")
    cases = [case for case in worst if case != above]
    return Gallery(shown.audit.name, note, [_sight(shown, case, case, n) for n, case in enumerate(cases, start=1)])


def _sight(shown: _Showcase, case: str, title: str, number: int) -> Sight:
    (clean, attacked), budget = shown.said(case), shown.budget
    view = read_slice(shown.stored[case])
    scale, outlines = short(view.scale), f"with the outlines of prediction and {reference_word([shown.audit])};"
    whole = f"over the whole case {case}, model {shown.audit.name}."
    words = (
        (f"Clean image; {clean}", f"Clean slice {outlines} {clean} {whole}"),
        (
            "Perturbation",
            f"Perturbation of the same slice, from minus {scale} (blue) over 0 (white) to plus {scale} (red).",
        ),
        (f"Attacked image; {attacked}", f"Attacked slice, eps {budget}, {outlines} {attacked} {whole}"),
    )
    panels = tuple(Panel(picture, *said) for picture, said in zip(pictures(view), words, strict=True))
    key = f"case-{shown.number}-{number}"
    return Sight(title, _facts(shown, case), panels, scale, key, shown.audit.name, case, shown.why(case))
