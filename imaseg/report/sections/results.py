"""Models against budgets under the strongest attack of each set, paired differences, and every probe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from imaseg.report.audits import Audit, Audits, lacking, owner
from imaseg.report.blocks import MISSING, Block, Cell, Details, Heading, Sentence, Table, table, with_interval
from imaseg.report.breaking import budget_text, halves_at
from imaseg.report.compare import (
    Point,
    Series,
    all_series,
    at,
    budgets,
    clean_point,
    holders,
    ladder,
    main_series,
    paired,
    settings,
    strongest,
    telling,
)  # fmt: skip
from imaseg.report.differences import difference_table, main_rows, paired_rows
from imaseg.report.known import about_attack, about_objective, about_set
from imaseg.report.metrics import Metric, shown_metrics
from imaseg.report.numerals import attack_name, bracket, decimal, in_words, listing, set_name, short, signed, unit_name
from imaseg.report.sections.base import Section
from imaseg.results.attack import AttackEntry
from imaseg.results.base import Metrics


def build(audits: Audits) -> Section | None:
    """Tables of Dice under attack."""
    lead = strongest(audits)
    blocks = [*(_models(audits, series) for series in lead), *_differences(audits)]
    if all_series(audits):
        blocks.append(Details("Every probe at every budget, all metrics", [_probes(audits)]))
    if not blocks:
        return None
    return Section(
        30,
        "results",
        "Results",
        "Dice, clean and under the strongest attack" if lead else "Dice",
        blocks,
        _lead(audits) if lead else "",
        sentences=_sentences(audits, lead),
        notices=list(_notices(audits)),
        methods=list(_methods(audits)),
        works=list(_works(audits)),
        limits=_limits(audits, lead),
    )


def block_cells(block: Metrics, columns: Sequence[Metric]) -> dict[str, str]:
    """The metrics of a block by head of column, and in how many cases each is undefined."""
    undefined = [f"{m.short} {int(lost)}" for m in columns if (lost := block.get(f"{m.name}_undefined"))]
    return {
        **{metric.head: metric.write(block.get(metric.name)) for metric in columns},
        "Undefined in (cases)": ", ".join(undefined) or "none",
    }


def against(name: str, reference: Point | None, point: Point) -> str:
    """The paired difference from the reference, as a sentence ends with it."""
    change = paired(reference, point)
    if change is None:
        return f", no case shared with {name}"
    return f", {signed(change.mean)} against {name} case by case ({in_words(change.ci95, sign=True)}, n = {change.n})"


def _entries(audits: Audits) -> list[AttackEntry]:
    return [entry for audit in audits for entry in audit.summary.probes]


def _lead(audits: Audits) -> str:
    paired_by_case = " Clean change: paired by case, with its own interval." if len(audits) > 1 else ""
    return (
        "The strongest attack of a perturbation set is the one that leaves a lower mean Dice than the others do, over "
        f"the models and budgets they share. In brackets: 95 % interval.{paired_by_case}"
    )


def _models(audits: Audits, series: Series) -> Table:
    """Models x budgets of one attack: mean foreground Dice, interval, and the change of clean Dice."""
    details = {settings(ladder(audit, series)[0]) for audit in holders(audits, series)}
    how = next(iter(details)) if len(details) == 1 else "settings differ between models, see the notes"
    caption = (
        "Mean foreground Dice (0 to 1) with 95 % bootstrap interval over n cases, clean and under "
        f"{attack_name(series.attack)} in the {set_name(series.perturbation)} (probe {series.probe}: {how}); "
        f"eps in {unit_name(series.unit)}"
    )
    return table(caption, [_model(audits, audit, series) for audit in audits])


def _model(audits: Audits, audit: Audit, series: Series) -> dict[str, object]:
    clean, reference = clean_point(audit), audits[0]
    points = {f"eps {short(eps)}": at(audit, series, eps) for eps in budgets(audits, series)}
    change = {f"Clean change vs {reference.name}": _clean_change(reference, audit)} if len(audits) > 1 else {}
    cells = {head: _dice_cell(point, clean.n) for head, point in {"Clean": clean, **points}.items()}
    return {"Model": audit.name, "n": clean.n, **cells, **change}


def _dice_cell(point: Point | None, n: int) -> Cell:
    if point is None:
        return MISSING
    return with_interval(point.dice, point.dice_ci95, more="" if point.n == n else f"n = {point.n}")


def _clean_change(reference: Audit, audit: Audit) -> Cell:
    if audit is reference:
        return Cell("reference", missing=True)
    change = paired(clean_point(reference), clean_point(audit))
    if change is None:
        return Cell("no shared case", missing=True)
    fewer = "" if change.n == clean_point(audit).n else f"n = {change.n}"
    return with_interval(change.mean, change.ci95, sign=True, more=fewer)


def _differences(audits: Audits) -> list[Block]:
    rows = paired_rows(audits)
    main = main_rows(audits, rows)
    blocks: list[Block] = []
    if main:
        blocks += [Heading("Paired differences between models"), difference_table(main)]
    if len(rows) > len(main):
        blocks.append(Details("Every paired difference, all metrics", [difference_table(rows)]))
    return blocks


def _probes(audits: Audits) -> Table:
    """Every probe at every budget with all metrics."""
    columns = shown_metrics(audits)
    rows = [
        {
            "Model": audit.name,
            "Probe": f"{series.probe} ({attack_name(series.attack)}, {series.perturbation})",
            "Settings": settings(point),
            "eps": f"{short(point.eps)} {unit_name(series.unit)}",
            "n": point.n,
            **block_cells(point.metrics, columns),
            "Dice 95 % CI": bracket(point.dice_ci95),
        }
        for series in all_series(audits)
        for audit in audits
        for point in ladder(audit, series)
    ]
    return table("Every probe at every budget; metrics are means over cases of the mean over structures", rows)


def _sentences(audits: Audits, lead: Sequence[Series]) -> list[Sentence]:
    """Under the set that the pictures show, else the first one: where Dice halves; and the set that costs the most."""
    series = main_series(audits)
    if series is None:
        return []
    named = f"the {set_name(series.perturbation)} (probe {series.probe})"
    halves = tuple(f"{owner(audits, audit)}{_breaks(audits, audit, series)}" for audit in audits)
    worst = tuple(f"{owner(audits, audit)}{text}" for audit in audits if (text := _weakest_set(audit, lead)))
    return [
        Sentence(f"Under the worst attack in {named}:", halves),
        *([Sentence("The set of perturbations that costs the most Dice:", worst)] if worst else []),
    ]


def _breaks(audits: Audits, audit: Audit, series: Series) -> str:
    """Where half of the clean Dice is lost, and what is left at one budget."""
    points = ladder(audit, series)
    if not points:
        return "not audited with this attack"
    half, first, last = halves_at(audit, series), points[0].eps, points[-1].eps
    if half is None:
        text = (
            "Dice stays above half of its clean value up to the largest budget tried, "
            f"{budget_text(audit, series.unit, last)}"
        )
    elif half < first:  # nothing was audited in between
        text = f"half of the clean Dice is lost below {budget_text(audit, series.unit, first)}, the smallest budget"
    else:
        text = f"half of the clean Dice is lost at {budget_text(audit, series.unit, half)}"
    eps = telling(audits, series)
    return text + _left(audits, audit, series, last if eps is None else eps)


def _left(audits: Audits, audit: Audit, series: Series, eps: float) -> str:
    point = at(audit, series, eps)
    if point is None:
        return ""
    change = "" if audit is audits[0] else against(audits[0].name, at(audits[0], series, eps), point)
    return f"; {decimal(point.dice)} ({in_words(point.dice_ci95)}) is left at {short(eps)}{change}"


def _weakest_set(audit: Audit, lead: Sequence[Series]) -> str:
    """The set whose largest audited budget leaves the least Dice."""
    ends = [(points[-1], series) for series in lead if (points := ladder(audit, series))]
    left = [(point.dice, point.eps, series) for point, series in ends if point.dice is not None]
    if not left:
        return ""
    dice, eps, series = min(left, key=lambda end: end[0])
    among = f"among {len(left)} sets of perturbations" if len(left) > 1 else "the only set of perturbations attacked"
    rest = f"{decimal(dice)} left at {short(eps)} {unit_name(series.unit)}, the largest budget"
    return f"the {set_name(series.perturbation)}, {among} ({rest})"


def _notices(audits: Audits) -> Iterator[str]:
    """In which attacks the audits differ."""
    uneven = []
    probes_lacking: dict[str, list[str]] = {}
    for series in all_series(audits):
        held = holders(audits, series)
        ladders = [ladder(audit, series) for audit in held]
        for name in lacking(audits, held):
            probes_lacking.setdefault(name, []).append(series.probe)
        if len({settings(points[0]) for points in ladders}) > 1:
            each = [f"{audit.name}: {settings(points[0])}" for audit, points in zip(held, ladders, strict=True)]
            yield f"{series.probe} was run with different settings ({'; '.join(each)})."
        if len({tuple(point.eps for point in points) for points in ladders}) > 1:
            uneven.append(series.probe)
    for name, probes in probes_lacking.items():
        yield f"{name} was not audited with {listing(probes)}."
    if uneven:
        yield f"The models were audited at different budgets of {listing(uneven)}; a cell says where one is missing."


def _methods(audits: Audits) -> Iterator[str]:
    groups: dict[str, list[str]] = {}
    entries = _entries(audits)
    for series in all_series(audits):
        here = [entry for entry in entries if Series.of(entry) == series]
        if not any(entry.members for entry in here):  # else it is no attack of its own
            eps = ", ".join(short(value) for value in budgets(audits, series))
            ball = f"in the {set_name(series.perturbation)}{source_of(series.perturbation)}"
            named = _attack_with_source(series, [entry.objective for entry in here])
            how = "; ".join(dict.fromkeys(settings(p) for audit in audits for p in ladder(audit, series)))
            groups.setdefault(f"{ball} at eps {eps} {unit_name(series.unit)}", []).append(f"{named} [{how}]")
    if groups:
        yield f"The probes were, {'; '.join(f'{where}: {listing(said)}' for where, said in groups.items())}."
    if any(entry.members for entry in entries):
        yield (
            "Where several attacks ran in one set at one budget, the worst case is the lowest Dice of each case over "
            "them, then the mean over cases."
        )


def _attack_with_source(series: Series, objectives: Sequence[str | None]) -> str:
    named = [about_attack(series.attack), *map(about_objective, objectives)]
    cited = listing([text for text in dict.fromkeys(known.cited for known in named) if text])
    return f"{attack_name(series.attack)}{f' ({cited})' if cited else ''}"


def source_of(perturbation: str) -> str:
    """The work behind a perturbation set, as a sentence names it."""
    cited = about_set(perturbation).cited
    return f" (after {cited})" if cited else ""


def _works(audits: Audits) -> Iterator[str]:
    for entry in _entries(audits):
        yield about_attack(entry.attack).reference
        yield about_objective(entry.objective).reference
        yield about_set(entry.perturbation).reference


def _limits(audits: Audits, lead: Sequence[Series]) -> list[str]:
    if not all_series(audits):
        return []
    said = [
        "An attack that fails proves nothing: a stronger one may lower these numbers. Dice under attack is an upper "
        "bound of the worst case."
    ]
    if len(lead) > 1:
        said.append(
            "Budgets of different sets are in different units and do not compare: which set costs the most Dice "
            "depends on how far each was searched."
        )
    return said
