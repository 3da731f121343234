"""Margins: the smallest budget that breaks a case, and each structure by itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from statistics import median

from imaseg.attacks import PGD
from imaseg.progress import counted
from imaseg.report.audits import Audit, Audits, lacking, model_column, owner, unrestricted
from imaseg.report.blocks import Block, Cell, Details, Figure, Grid, Heading, Section, Sentence, Table, Text, table
from imaseg.report.breaking import native, own_unit
from imaseg.report.margin_figures import Line, scatter_figures, survival_figure
from imaseg.report.margin_sets import MarginSet, Question, margin_sets, ranked_cases
from imaseg.report.margin_words import margin_text, median_interval, median_meaning, quantile_text, structure_name
from imaseg.report.wording import about_set, amount, decimal, listing, percent, set_name, short, source_of, unit_name
from imaseg.results.margin import CaseMargin, MarginEntry

_LEAD = (
    "Each curve falls where a case breaks; the further right, the better. At an open triangle cases that nothing broke "
    "leave the curve: their margin lies beyond (censored). Cases that fail unattacked break at 0. In the legend: the "
    "median margin, and how many cases nothing broke."
)
_SCATTERS = (
    "One point per case and structure. Open symbols: not broken, the margin lies above. If small or badly segmented "
    "structures broke first, the points would rise to the right. n and rank correlations (Spearman) stand below each "
    "plot."
)
_WEAKEST = 10
_GOOD_RATE = 0.95
"""Share of the challenged margins of a set that must hold."""


def build(audits: Audits) -> Section | None:
    """Curves, every set and structure, the weakest cases, every margin, and margins against volume and clean Dice."""
    entries = [entry for audit in audits for entry in audit.summary.margins]
    if not entries:
        return None
    challenged = any(entry.tested for entry in entries)
    blocks: list[Block] = [
        Grid(_figures(audits)),
        _results(audits),
        Heading("Weakest cases"),
        *_weakest(audits),
        Details("Every margin of every case", [_cases(audits)]),
    ]
    if len(audits) == 1:  # what kind of case breaks first
        figures = [figure for margins in margin_sets(audits[0]) for figure in scatter_figures(margins)]
        blocks += [Heading("Margin against volume and clean Dice"), Text(_SCATTERS, soft=True), Grid(figures)]
    sets = dict.fromkeys(about_set(entry.perturbation).reference for entry in entries)
    return Section(
        50,
        "margins",
        "Margins: how large a change breaks a case",
        blocks,
        _LEAD,
        "Margins",
        sentences=[*_sentences(audits), *_held(entries)],
        notices=list(_notices(audits)),
        methods=list(_methods(entries, challenged=challenged)),
        works=["ima", PGD.reference, *(["evaluate"] if challenged else []), *sets],
        limits=list(_limits(entries)),
    )


def _questions(audits: Audits) -> list[Question]:
    return list(dict.fromkeys(margins.question for audit in audits for margins in margin_sets(audit)))


def _set_of(audit: Audit, question: Question) -> MarginSet | None:
    return next((margins for margins in margin_sets(audit) if margins.question == question), None)


def _figures(audits: Audits) -> list[Figure]:
    """Of one audit a figure per set, a line per structure; of several a figure per set and structure, a line each."""
    figures: list[Figure] = []
    if len(audits) == 1:
        for question, entries in margin_sets(audits[0]):
            lines = [Line(number, structure_name(entry.structure), entry) for number, entry in enumerate(entries)]
            key = f"unbroken-{len(figures)}"
            figures.append(survival_figure(key, question.set, "Structure", question, lines, ""))
        return figures
    structures = dict.fromkeys([None, *(entry.structure for audit in audits for entry in audit.summary.margins)])
    for structure, question in ((structure, question) for structure in structures for question in _questions(audits)):
        if lines := _lines(audits, question, structure):
            missing = lacking(audits, [audits[line.number] for line in lines], "No margins of this kind")
            key, title = f"unbroken-{len(figures)}", f"{question.set}, {structure_name(structure)}"
            figures.append(survival_figure(key, title, "Model", question, lines, missing))
    return figures


def _lines(audits: Audits, question: Question, structure: str | None) -> list[Line]:
    return [
        Line(number, audit.name, entry)
        for number, audit in enumerate(audits)
        if (margins := _set_of(audit, question)) and (entry := margins.entry(structure))
    ]


def _near(entry: MarginEntry) -> str:
    return f"; {entry.searched_near.words}" if entry.searched_near is not None else ""


def _results(audits: Audits) -> Table:
    """One row per set, structure and model."""
    rows = [
        {
            "Set (unit)": Cell(set_name(entry.perturbation, entry.within), unit_name(entry.unit)),
            **model_column(audits, audit),
            "Structure": structure_name(entry.structure),
            "Median [95 % CI]": Cell(quantile_text(entry), median_interval(entry)),
            "Quartiles": f"{quantile_text(entry, 'q25')} to {quantile_text(entry, 'q75')}",
            "Median in words": Cell(
                median_meaning(entry) or f"{quantile_text(entry)} {unit_name(entry.unit)}", _native(audit, entry)
            ),
            "Not broken": Cell(f"{entry.censored} of {entry.n}", f"{entry.absent} without it" if entry.absent else ""),
            "Fail clean": entry.clean_failures,
            "Held": Cell(f"{entry.held} of {entry.tested}", f"checked, of {_above_0(entry)}")
            if entry.tested
            else "not checked",
            "Search limit": Cell(short(entry.eps), f"within {percent(entry.rtol)}{_near(entry)}"),
        }
        for question in _questions(audits)
        for audit in audits
        if (margins := _set_of(audit, question)) is not None
        for entry in margins.entries
    ]
    caption = (
        "Margins: the smallest budget found that breaks a case. Not broken: cases that withstood every budget up to "
        "the search limit (censored). Held: of the margins above 0 that were checked, those "
        "just below which two new searches failed. Below the limit: how "
        "closely margins are known"
    )
    return table(caption, rows)


def _above_0(entry: MarginEntry) -> int:
    """Margins that a search just below them can challenge."""
    return sum(case.margin > 0 for case in entry.per_case)


def _native(audit: Audit, entry: MarginEntry) -> str:
    """The median in the image's own units, at the median case; empty where there are none."""
    spread = None if entry.median is None else native(audit, entry.unit, entry.median)
    above = "above " if entry.median_at_least else ""
    own = own_unit(audit) or " grey levels"
    return f"{above}{short(spread.median)}{own}" if spread else ""


def _weakest(audits: Audits) -> list[Block]:
    """The cases that break first of those that a change must break, by their mean rank over the sets."""
    titles, each = _titles(audits), max(3, _WEAKEST // len(audits))
    ranked = {audit.name: _breakable(audit) for audit in audits if audit.summary.margins}
    rows = [
        {
            "Case": case,
            **model_column(audits, audit),
            **_facts(margins.margin(None, case) for margins in margin_sets(audit)),
            **{title: _first(_set_of(audit, question), case) for question, title in titles.items()},
        }
        for audit in audits
        for case in ranked.get(audit.name, [])[:each]
    ]
    cases = {case.case for audit in audits for entry in audit.summary.margins for case in entry.per_case}
    left = "".join(
        f" {owner(audits, audit)}{counted(len(fallen), 'case')} that {'fails' if len(fallen) == 1 else 'fail'} "
        f"unattacked {'is' if len(fallen) == 1 else 'are'} left out."
        for audit in audits
        if (fallen := _broken_unattacked(audit))
    )
    structured = any(entry.structure is not None for audit in audits for entry in audit.summary.margins)
    cells = " Cells: margin of the whole case; below it the structure that breaks first by itself, and where."
    caption = (
        f"{len(rows) if len(audits) == 1 else f'Up to {each} per model'} of {counted(len(cases), 'case')}, the weakest "
        f"first{', by the mean of their ranks over the sets' if len(titles) > 1 else ''}.{left}"
        f"{cells if structured else ''}"
    )
    if not rows:
        return [Text(f"{left.strip()} No other case broke or was looked at.")]
    return [table(caption.rstrip("."), rows)]


def _broken_unattacked(audit: Audit) -> list[str]:
    """Cases that meet the criterion of every set without any change, so that nothing ranks them."""
    unattacked = [{case.case for case in margins.whole.per_case if case.margin == 0} for margins in margin_sets(audit)]
    broken = set.intersection(*unattacked) if unattacked else set()
    return [case.case for case in audit.summary.metric_per_case if case.case in broken]


def _breakable(audit: Audit) -> list[str]:
    broken = {*_broken_unattacked(audit)}
    return [case for case in ranked_cases(audit) if case not in broken]


def _titles(audits: Audits) -> dict[Question, str]:
    """Head of a column per set; sets that are asked more than once are told apart by probe and criterion."""
    questions = _questions(audits)
    alike = [question.title for question in questions]
    return {q: q.title if alike.count(q.title) == 1 else f"{q.title}, {q.probe}: {q.criterion}" for q in questions}


def _facts(margins: Iterable[CaseMargin | None]) -> dict[str, str]:
    known = next(filter(None, margins), None)
    dice, volume = (decimal(known.clean_dice), short(known.volume_ml)) if known else ("", "")
    return {"Clean Dice": dice, "Volume (ml)": volume}


def _first(margins: MarginSet | None, case: str) -> Cell:
    """Margin of the whole case, and the structure that breaks first."""
    if margins is None or (whole := margins.margin(None, case)) is None:
        return Cell("not measured", missing=True)
    structures = [entry.structure for entry in margins.entries[1:]]
    found = {name: margin for name in structures if (margin := margins.margin(name, case)) and not margin.censored}
    if not found:
        return Cell(margin_text(whole), "no structure breaks" if structures else "")
    name = min(found, key=lambda name: found[name].margin)
    return Cell(margin_text(whole), f"{name} {margin_text(found[name])}")


def _cases(audits: Audits) -> Table:
    """Every margin of every case."""
    rows = []
    for audit in audits:
        sets = {title: _set_of(audit, question) for question, title in _titles(audits).items()}
        structures = dict.fromkeys(entry.structure for entry in audit.summary.margins)
        cases = sorted({case.case for entry in audit.summary.margins for case in entry.per_case})
        for case, name in ((case, name) for case in cases for name in structures):
            found = {title: margins.margin(name, case) if margins else None for title, margins in sets.items()}
            who = {"Case": case, **model_column(audits, audit), "Structure": structure_name(name)}
            rows.append({**who, **_facts(found.values()), **{title: _marked(one) for title, one in found.items()}})
    return table("Every margin; those marked did not hold against two new searches just below them", rows)


def _marked(margin: CaseMargin | None) -> Cell:
    if margin is None:
        return Cell("not in the label", missing=True)
    return Cell(margin_text(margin), "did not hold" if margin.confirmed is False else "")


def _sentences(audits: Audits) -> Iterator[Sentence]:
    """Where half of the cases break, and which structure breaks first."""
    sets = [(audit, margins) for audit in audits for margins in margin_sets(audit)]
    criteria = listing(margins.question.criterion for _, margins in sets)
    halves = tuple(f"{owner(audits, audit)}{_half(margins)}" for audit, margins in sets)
    yield Sentence(f"Margins: the median case breaks (criterion: {criteria}) at, and the weakest at:", halves)
    firsts = tuple(f"{owner(audits, audit)}{text}" for audit, margins in sets if (text := _first_structure(margins)))
    if firsts:
        yield Sentence("The structure that breaks first, by its median margin:", firsts)


def _held(entries: Sequence[MarginEntry]) -> list[Sentence]:
    """How many margins withstood new attacks just below them."""
    stood, tested = sum(entry.held for entry in entries), sum(entry.tested for entry in entries)
    widths = sorted({1 - (1 - entry.rtol) ** 2 for entry in entries if entry.tested})  # as `SampleMargin.confirm`
    below = listing(percent(width, 2) for width in widths)
    above = sum(_above_0(entry) for entry in entries)
    text = (
        f"{stood} of {counted(tested, 'margin')} that {'was' if tested == 1 else 'were'} checked (of {above} above 0) "
        f"held: two new searches {below} below them failed."
    )
    return [Sentence(text)] if tested else []


def _half(margins: MarginSet) -> str:
    entry, meaning, unit = margins.whole, median_meaning(margins.whole), unit_name(margins.whole.unit)
    breakable = [case for case in entry.per_case if case.margin > 0]
    broken = [case for case in breakable if not case.censored]
    weakest = min(broken, key=lambda case: case.margin, default=None)
    least = f"weakest: {weakest.case} at {margin_text(weakest)}" if weakest else "none breaks"
    left = f"; {entry.censored} of {entry.n} never broke" if entry.censored else ""
    # A unit without a name of its own, such as mm, needs no brackets.
    named = f" ({unit}{f', {meaning}' if meaning else ''})" if meaning or unit != entry.unit else f" {unit}"
    fallen = entry.n - len(breakable)
    said = f"{margins.question.set}: {quantile_text(entry)}{named}"
    if not fallen:
        return f"{said}; {least}{left}"
    if not breakable:
        return f"{said}; all {counted(entry.n, 'case')} need no change"
    middle = median(case.margin for case in breakable)
    bound = "above " if any(case.censored and case.margin <= middle for case in breakable) else ""
    others = f"{fallen} of {entry.n} need no change, the median of the other {len(breakable)} is {bound}{short(middle)}"
    return f"{said}; {others}, {least}{left}"


def _first_structure(margins: MarginSet) -> str:
    known = [entry for entry in margins.entries[1:] if entry.median is not None]
    if not known:
        return ""
    least = min(known, key=lambda entry: (entry.median_at_least, entry.median or 0.0))
    if least.median_at_least and least.censored == least.n:
        return f"{margins.question.set}: none breaks"
    others = [f"{entry.structure} {quantile_text(entry)}" for entry in known if entry is not least]
    rest = f" (against {listing(others)})" if others else ""
    return f"{margins.question.set}: {least.structure} {quantile_text(least)}{rest}"


def _notices(audits: Audits) -> Iterator[str]:
    """Sets whose margins did not hold."""
    yield from unrestricted(audits, "margins")
    sets = [(audit, *margins) for audit in audits for margins in margin_sets(audit)]
    for audit, question, entries in sets:
        stood, tested = sum(entry.held for entry in entries), sum(entry.tested for entry in entries)
        if stood < _GOOD_RATE * tested:
            yield (
                f"{owner(audits, audit)}In the {question.set} only {stood} of {tested} checked margins held: its "
                "searches missed smaller changes that break. Take more steps, and read these margins as too large."
            )


def _methods(entries: Sequence[MarginEntry], *, challenged: bool) -> Iterator[str]:
    whole = [entry for entry in entries if entry.structure is None]
    searched = dict.fromkeys(
        f"{set_name(e.perturbation, e.within)}{source_of(e.perturbation)}, criterion {e.criterion}, "
        f"up to {amount(e.eps, e.unit)}"
        for e in whole
    )
    steps = listing(sorted({entry.steps for entry in whole}))
    widths = listing(f"{width:g}" for width in sorted({entry.rtol for entry in whole}))
    structures = len(whole) < len(entries)
    yield (
        "Margins, the quantity that Increasing-Margin Adversarial training grows (Ma and Liang 2023), were found for "
        f"each case{', and for each structure by itself,' if structures else ''} by search for the smallest budget "
        f"that meets a criterion ({'; '.join(searched)})."
    )
    began = "; the search of a structure began with what broke the whole case, where that broke it too"
    yield (
        "Each search attacked at the ceiling first, by projected gradient ascent (Madry et al. 2018) of "
        f"{steps} steps on the loss that leads to the criterion, then halved the budget to a relative tolerance of "
        f"{widths}, each attack starting from the last change that broke the case{began if structures else ''}."
    )
    if challenged:
        yield "Margins were challenged by two new searches just below them (after Carlini et al. 2019)."
    yield "Cases that no attack broke were censored at the ceiling; curves are Kaplan-Meier estimates."


def _limits(entries: Sequence[MarginEntry]) -> Iterator[str]:
    yield (
        "A margin is an upper bound: the smallest change that a search found, not the smallest that exists. A stronger "
        "search may find a smaller one; none can find that it is larger."
    )
    if any(entry.censored for entry in entries):
        yield "A case that nothing broke is not proven robust. It withstood these searches up to their ceiling."
    if len({(entry.in_set, entry.unit) for entry in entries}) > 1:
        yield "Margins on different sets are in different units and do not compare with each other."
    if any(entry.absent for entry in entries):
        yield "A structure that the label does not hold has no margin; such cases are left out and counted."
