"""The tables: models against budgets, clean metrics per class, every probe, and the budgets in all units."""

from __future__ import annotations

from collections.abc import Sequence

from imaseg.report.compare import Point, Series, all_series, at, budgets, clean_point, ladder, paired, strongest
from imaseg.report.metrics import Metric, shown_metrics
from imaseg.report.numerals import ADDED, attack_name, bracket, decimal, short, signed, unit_name
from imaseg.report.parts import MISSING, Cell, Table, row
from imaseg.report.read import Audit
from imaseg.report.schema import Metrics, Span
from imaseg.report.words import named, settings

_SIZES = {"rms": "RMS per voxel", "l2": "L2 norm", "linf": "largest change", "range": "largest, share of range"}


def results_table(audits: Sequence[Audit], series: Series) -> Table:
    """Models x budgets of one attack: mean foreground Dice, interval, and the change of clean Dice."""
    eps_list = budgets(audits, series)
    details = {settings(points[0]) for audit in audits if (points := ladder(audit, series))}
    how = next(iter(details)) if len(details) == 1 else "settings differ between models, see the notes"
    caption = (
        f"Mean foreground Dice (0 to 1) with 95 % bootstrap interval over n cases, clean and under "
        f"{named(series, how)}; "
        f"eps in {unit_name(series.unit)}"
    )
    head = ["Model", "n", "Clean", *(f"eps {short(eps)}" for eps in eps_list)]
    rows = [row(a.name, str(clean_point(a).n), *_dice_cells(a, series, eps_list)) for a in audits]
    if len(audits) > 1:
        head.append(f"Clean change vs {audits[0].name}")
        for place, audit in enumerate(audits):
            rows[place].append(_clean_change(audits[0], audit) if place else Cell("reference", missing=True))
    return Table(caption, head, rows)


def _dice_cells(audit: Audit, series: Series, eps_list: list[float]) -> list[Cell]:
    clean = clean_point(audit)
    cells = [Cell(decimal(clean.dice), bracket(clean.dice_ci95))]
    for eps in eps_list:
        point = at(audit, series, eps)
        if point is None:
            cells.append(MISSING)
            continue
        differs = "" if point.n == clean.n else f" n = {point.n}"
        cells.append(Cell(decimal(point.dice), (bracket(point.dice_ci95) + differs).strip()))
    return cells


def _clean_change(reference: Audit, audit: Audit) -> Cell:
    change = paired(clean_point(reference), clean_point(audit))
    if change is None:
        return Cell("no shared case", missing=True)
    fewer = "" if change.n == clean_point(audit).n else f" n = {change.n}"
    return Cell(signed(change.mean), (bracket(change.ci95, sign=True) + fewer).strip())


def clean_table(audits: Sequence[Audit]) -> Table:
    """Clean metrics per class and model."""
    rows, columns = [], shown_metrics(audits)
    for audit in audits:
        summary = audit.summary
        for value, block in summary.mean.items():
            rows.append(row(audit.name, summary.data.labels.get(value, f"class {value}"), *_block(block, columns)))
        rows.append(row(audit.name, "mean over foreground", *_block(summary.foreground_mean, columns)))
    sizes = ", ".join(f"{audit.name} n = {clean_point(audit).n}" for audit in audits)
    caption = f"Metrics on unchanged images, means over the cases where they are defined ({sizes})"
    return Table(caption, ["Model", "Structure", *(one.head for one in columns), "Undefined in (cases)"], rows)


def probes_table(audits: Sequence[Audit]) -> Table:
    """Every probe at every budget with all metrics."""
    rows, columns = [], shown_metrics(audits)
    for series in all_series(audits):
        for audit in audits:
            rows += [_probe_row(audit.name, series, point, columns) for point in ladder(audit, series)]
    heads = [one.head for one in columns]
    head = ["Model", "Probe", "Settings", "eps", "n", heads[0], "Dice 95 % CI", *heads[1:], "Undefined in (cases)"]
    return Table("Every probe at every budget; metrics are means over cases of the mean over structures", head, rows)


def _probe_row(model: str, series: Series, point: Point, columns: Sequence[Metric]) -> list[Cell]:
    dice, *others = _block(point.metrics, columns)
    eps = f"{short(point.eps)} {unit_name(series.unit)}"
    probe = f"{series.probe} ({attack_name(series.attack)}, {series.perturbation})"
    return row(model, probe, settings(point), eps, str(point.n), dice, bracket(point.dice_ci95), *others)


def _block(block: Metrics, columns: Sequence[Metric]) -> list[Cell]:
    cells = [Cell(one.write(block.get(one.name))) for one in columns]
    undefined = [f"{one.short} {int(lost)}" for one in columns if (lost := block.get(f"{one.name}_undefined"))]
    return [*cells, Cell(", ".join(undefined) or "none")]


def budget_table(audits: Sequence[Audit]) -> Table:
    """Every budget in its own unit, the change it led to in all units, and the budget in the scanner's own units."""
    lead = {(series.perturbation, series.unit): series for series in (*all_series(audits)[::-1], *strongest(audits))}
    rows = [
        _budget_row(audit.name, series, point)
        for series in lead.values()
        for audit in audits
        for point in ladder(audit, series)
    ]
    caption = (
        "Budgets. Spent: median over n cases of the change that the named probe made, in the units of the model's "
        "input. Native: the budget in the image's own units before normalisation"
    )
    head = [
        "Model",
        "Probe",
        "Budget eps",
        *(f"Spent: {name}" for name in _SIZES.values()),
        "Native: median (min to max)",
    ]
    return Table(caption, head, rows)


def _budget_row(model: str, series: Series, point: Point) -> list[Cell]:
    sizes = point.probe.sizes if point.probe else {}
    spent = [short(sizes[unit]) if unit in sizes else "not recorded" for unit in _SIZES]
    native = _span(point.probe.eps_native if point.probe else None) if series.unit in ADDED else "no intensity"
    return row(model, series.probe, f"{short(point.eps)} {unit_name(series.unit)}", *spent, native)


def _span(span: Span | None) -> str:
    if span is None or span.median is None:
        return "not recorded"
    if span.min is None or span.max is None:
        return short(span.median)
    return f"{short(span.median)} ({short(span.min)} to {short(span.max)})"
