"""Models against budgets under the strongest attack of each set, paired differences, and every probe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from imaseg.report import compare
from imaseg.report.audits import Audit, Audits, dice_in_words, owner, unrestricted
from imaseg.report.blocks import MISSING, Block, Cell, Details, Heading, Section, Sentence, Table, table, with_interval
from imaseg.report.breaking import budget_text, halves_at, median_margin, too_large
from imaseg.report.compare import Point, Series, all_series, at, clean_point, holders, ladder, settings, strongest
from imaseg.report.differences import difference_table, main_rows, paired_rows, shown_rows
from imaseg.report.focus import among, focus, standing_of
from imaseg.report.intervals import over, stated
from imaseg.report.metrics import metric_cells, shown_metrics
from imaseg.report.other_cases import other_cases
from imaseg.report.wording import about, amount, bracket, brief, decimal, in_words, listing, short, source_of, unit_name
from imaseg.results.base import Block as Scored
from imaseg.results.base import near_words

_LEAD = (
    "The strongest attack of a perturbation set is the one that leaves a lower mean Dice than the others do, over the "
    "models and budgets they share"
)
_UPPER = (
    "An attack that fails proves nothing: a stronger one may lower these numbers. Dice under attack is an upper bound "
    "of the worst case."
)
_UNITS = (
    "Budgets of different sets are in different units and do not compare: which set costs the most Dice depends on how "
    "far each was searched."
)


def build(audits: Audits) -> Section | None:
    """Tables of Dice under attack."""
    lead, every = strongest(audits), all_series(audits)
    blocks = [*(_models(audits, series) for series in lead), *_differences(audits)]
    if every:
        blocks.append(Details("Every probe at every budget, all metrics", [_probes(audits)]))
    if not blocks:
        return None
    change = " Clean change: paired by case, with its own interval." if _paired(audits) else ""
    known = any(block.dice_ci95 is not None for block in _blocks(audits))
    said = f"{_LEAD}.{f' In brackets: 95 % interval over {over(audits)}.' if known else ''}{change}"
    return Section(
        30,
        "results",
        "Dice, clean and under the strongest attack" if lead else "Dice",
        blocks,
        said if lead else "",
        "Results",
        sentences=_sentences(audits, lead),
        notices=list(_notices(audits)),
        methods=list(_methods(audits)),
        works=[known.reference for a in audits for entry in a.summary.probes for known in about(entry)],
        limits=[*([_UPPER] if every else []), *([_UNITS] if len(lead) > 1 else [])],
    )


def _blocks(audits: Audits) -> list[Scored]:
    return [block for audit in audits for block in (audit.summary, *audit.summary.probes)]


def _models(audits: Audits, series: Series) -> Table:
    """Models x budgets of one attack: mean foreground Dice, interval, and the change of clean Dice."""
    details = {settings(ladder(audit, series)[0]) for audit in holders(audits, series)}
    how = details.pop() if len(details) == 1 else "settings differ between models, see the notes"
    caption = (
        f"Mean foreground {dice_in_words(audits)} (0 to 1) over n cases {stated(audits, _blocks(audits))}, clean "
        f"and under {series.name} in the {series.set} (probe {series.probe}: {how}); "
        f"eps in {unit_name(series.unit)}"
    )
    rows = [row for audit in audits for row in (_model(audits, audit, series), *_others(audits, audit, series))]
    return table(caption, rows)


def _others(audits: Audits, audit: Audit, series: Series) -> Iterator[dict[str, object]]:
    """The same over the cases that a change can break, where some need none."""
    stands = standing_of(audit)
    if not (stands.fallen and stands.cases):
        return
    clean = among(clean_point(audit), stands.cases)
    points = [(e, at(audit, series, e)) for e in compare.budgets(audits, series)]
    yield {
        "Model": Cell(stands.others, stands.said),
        "n": clean.n,
        "Clean": clean.cell,
        **{
            f"eps {brief(e, series.unit)}": MISSING
            if point is None
            else _dice_cell(among(point, stands.cases), clean.n)
            for e, point in points
        },
        **({f"Clean change vs {audits[0].name}": Cell("")} if len(audits) > 1 else {}),
    }


def _model(audits: Audits, audit: Audit, series: Series) -> dict[str, object]:
    clean, eps = clean_point(audit), compare.budgets(audits, series)
    cells = {f"eps {brief(e, series.unit)}": _dice_cell(at(audit, series, e), clean.n) for e in eps}
    change = {f"Clean change vs {audits[0].name}": _clean_change(audits[0], audit)} if _paired(audits) else {}
    return {"Model": audit.name, "n": clean.n, "Clean": clean.cell, **cells, **change}


def _dice_cell(point: Point | None, n: int) -> Cell:
    if point is None:
        return MISSING
    return with_interval(point.dice, point.dice_ci95, more="" if point.n == n else f"n = {point.n}")


def _paired(audits: Audits) -> bool:
    """Whether any audit may be paired with the first one."""
    return any(not other_cases(audits[0], audit) for audit in audits[1:])


def _clean_change(reference: Audit, audit: Audit) -> Cell:
    if audit is reference:
        return Cell("reference", missing=True)
    clean = clean_point(audit)
    change = None if other_cases(reference, audit) else compare.paired(clean_point(reference), clean)
    if change is None:
        return Cell("no shared case", missing=True)
    return with_interval(change.mean, change.ci95, sign=True, more="" if change.n == clean.n else f"n = {change.n}")


def _differences(audits: Audits) -> list[Block]:
    family = paired_rows(audits)
    rows = shown_rows(family)
    main = main_rows(audits, rows)
    blocks: list[Block] = [Heading("Paired differences between models"), difference_table(main, family)] if main else []
    if len(rows) > len(main):
        blocks.append(
            Details(
                "Every paired difference of the main metrics (comparison.csv beside the page: of all)",
                [difference_table(rows, family)],
            )
        )
    return blocks


def _probes(audits: Audits) -> Table:
    """Every probe at every budget with all metrics."""
    columns = shown_metrics(audits)
    rows = [
        {
            "Model": audit.name,
            "Probe": f"{series.probe} ({series.name}, {series.perturbation}{near_words(series.within)})",
            "Settings": settings(point),
            "eps": amount(point.eps, series.unit),
            "n": point.n,
            **metric_cells(point.metrics, columns),
            "Dice 95 % CI": bracket(point.dice_ci95),
        }
        for series in all_series(audits)
        for audit in audits
        for point in ladder(audit, series)
    ]
    return table("Every probe at every budget; metrics are means over cases of the mean over structures", rows)


def _sentences(audits: Audits, lead: Sequence[Series]) -> list[Sentence]:
    """Under the set that the pictures show, else the first one: where Dice halves; and the set that costs the most."""
    series = compare.main_series(audits)
    if series is None:
        return []
    named = f"the {series.set} (probe {series.probe})"
    halves = tuple(f"{owner(audits, audit)}{_breaks(audits, audit, series)}" for audit in audits)
    worst = tuple(f"{owner(audits, audit)}{text}" for audit in audits if (text := _weakest_set(audit, lead)))
    costs = Sentence(f"The set of perturbations that costs the most {dice_in_words(audits)}:", worst)
    return [Sentence(f"Under the worst attack in {named}:", halves), *([costs] if worst else [])]


def _breaks(audits: Audits, audit: Audit, series: Series) -> str:
    """Where half of the clean Dice is lost, and what is left at one budget."""
    points = ladder(audit, series)
    if not points:
        return "not audited with this attack"
    stands = standing_of(audit)
    if stands.many and not stands.cases:
        return "no case is left to break"
    eps = compare.telling(audits, series)
    only = f"over {stands.others}, " if stands.many else ""
    return only + _half(audit, series, points) + _left(audits, audit, series, points[-1].eps if eps is None else eps)


def _half(audit: Audit, series: Series, points: Sequence[Point]) -> str:
    half, first, last = halves_at(audit, series), points[0].eps, points[-1].eps
    what = dice_in_words([audit])
    lost = "half of the clean Dice" if what == "Dice" else "half of the agreement"
    if half is None:
        most = budget_text(audit, series.unit, last)
        return f"{what} stays above half of its clean value up to the largest budget tried, {most}"
    if half < first:  # nothing was audited in between
        middle = median_margin(audit, series)
        closer = f"; the median margin is {amount(middle, series.unit)}" if middle else ""
        return f"{lost} is lost below {budget_text(audit, series.unit, first)}, the smallest budget{closer}"
    return f"{lost} is lost at {budget_text(audit, series.unit, half)}"


def _left(audits: Audits, audit: Audit, series: Series, eps: float) -> str:
    point = at(audit, series, eps)
    if point is None:
        return ""
    here = focus(audit, point)
    change = compare.against(audits, audit, at(audits[0], series, eps), point)
    return f"; {decimal(here.dice)} ({in_words(here.dice_ci95)}) is left at {brief(eps, series.unit)}{change}"


def _weakest_set(audit: Audit, lead: Sequence[Series]) -> str:
    """The set whose largest audited budget leaves the least Dice."""
    ends = [(points[-1], series) for series in lead if (points := ladder(audit, series))]
    known = [(focus(audit, point).dice, point.eps, series) for point, series in ends]
    left = [(dice, eps, series) for dice, eps, series in known if dice is not None]
    if not left:
        return ""
    dice, eps, series = min(left, key=lambda end: end[0])
    among = f"among {len(left)} sets of perturbations" if len(left) > 1 else "the only set of perturbations attacked"
    rest = f"{decimal(dice)} left at {amount(eps, series.unit)}, the largest budget"
    return f"the {series.set}, {among} ({rest})"


def _notices(audits: Audits) -> Iterator[str]:
    """In which attacks the audits differ."""
    series = {one: {audit.name: ladder(audit, one) for audit in holders(audits, one)} for one in all_series(audits)}
    for one, ladders in series.items():
        how = {name: settings(points[0]) for name, points in ladders.items()}
        if len(set(how.values())) > 1:
            each = "; ".join(f"{name}: {text}" for name, text in how.items())
            yield f"{one.probe} was run with different settings ({each})."
    yield from unrestricted(audits, "probes")
    for audit in audits:
        for one in strongest([audit]):
            if too_large(audit, one):
                middle = median_margin(audit, one)
                by = f"; the median margin is {amount(middle, one.unit)}" if middle else ""
                yield (
                    f"{owner(audits, audit)}In the {one.set} next to nothing is left at the smallest budget, "
                    f"{amount(ladder(audit, one)[0].eps, one.unit)}: these budgets are too large to tell cases or "
                    f"models apart. Add smaller ones{by}."
                )
    for audit in audits:
        own = {one: ladders for one, ladders in series.items() if not one.made_on}  # others are of single models
        if missing := [one.probe for one, ladders in own.items() if audit.name not in ladders]:
            yield f"{audit.name} was not audited with {listing(missing)}."
    budgets = {one.probe: {tuple(p.eps for p in points) for points in each.values()} for one, each in series.items()}
    if uneven := [probe for probe, each in budgets.items() if len(each) > 1]:
        yield f"The models were audited at different budgets of {listing(uneven)}; a cell says where one is missing."


def _methods(audits: Audits) -> Iterator[str]:
    groups: dict[str, list[str]] = {}
    entries = [entry for audit in audits for entry in audit.summary.probes]
    for series in all_series(audits):
        here = [entry for entry in entries if Series.of(entry) == series]
        if not any(entry.members for entry in here):  # else it is no attack of its own
            eps = ", ".join(short(value) for value in compare.budgets(audits, series))
            ball = f"in the {series.set}{source_of(series.perturbation)}"
            how = "; ".join(dict.fromkeys(settings(p) for audit in audits for p in ladder(audit, series)))
            sources = dict.fromkeys(known.cited for entry in here for known in about(entry)[:2] if known.cited)
            named = series.name + (f" ({listing(sources)})" if sources else "")
            groups.setdefault(f"{ball} at eps {eps} {unit_name(series.unit)}", []).append(f"{named} [{how}]")
    if groups:
        yield f"The probes were, {'; '.join(f'{where}: {listing(said)}' for where, said in groups.items())}."
    if any(entry.members for entry in entries):
        yield (
            "Where several attacks ran in one set at one budget, the worst case is the lowest Dice of each case over "
            "them, then the mean over cases."
        )
