"""Paired differences between models, over the cases that both hold, case by case: as a table and as a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from imaseg.data.table_file import write_table
from imaseg.progress import counted
from imaseg.report.audits import Audits, read_audits
from imaseg.report.blocks import Cell, Table, table, with_interval
from imaseg.report.compare import strongest
from imaseg.report.metrics import METRICS
from imaseg.report.other_cases import other_cases
from imaseg.report.wording import decimal, short
from imaseg.statistics import paired

Row = dict[str, Any]
_COLUMNS = (
    "a", "b", "probe", "eps", "unit", "metric", "mean_a", "mean_b", "difference", "ci95_low", "ci95_high", "n",
    "patients", "p",
)  # fmt: skip
_NAMES = {metric.name: metric.head for metric in METRICS}
_USED = {"model", "intervals", "metric_per_case", "probes", "corruptions"}
_TEST = (
    "p: two-sided Wilcoxon signed-rank test over the same, adjusted by Holm's method over all {rows} of a metric, "
    "folded ones included, so it may be large beside an interval without 0. Marked *: p below 0.05, which few cases "
    "cannot reach whatever they show"
)
_LEVEL = 0.05


def paired_rows(audits: Audits) -> list[Row]:
    """Every further model against the first one, as `imaseg.statistics.paired` finds them; none for other cases."""
    alike = [audit for audit in audits if not other_cases(audits[0], audit)]
    (name, reference), *others = [(audit.name, audit.summary.model_dump(include=_USED)) for audit in alike]
    return [row for other, summary in others for row in paired(reference, summary, names=(name, other))]


def write_comparison(folders: Sequence[Path], path: Path) -> Path:
    """Write what `imaseg.statistics.paired` finds, for statistics of one's own: a is the first audit, b any other.

    Args:
        folders: audit folders, the reference first.
        path: the CSV file to write.

    Returns:
        `path`.

    Raises:
        InputError: as `read_audits`.
    """
    rows = paired_rows(read_audits(folders))
    for row in rows:
        row["ci95_low"], row["ci95_high"] = row["ci95"] or (None, None)
    write_table(path, _COLUMNS, [{name: row.get(name) for name in _COLUMNS} for row in rows])
    return path


def main_rows(audits: Audits, rows: Iterable[Row]) -> list[Row]:
    """Those about Dice: on unchanged images, under the worst attacks, under corruptions at the highest severity."""
    shown = {"clean", *(series.probe for series in strongest(audits))}
    last = max((entry.severity for audit in audits for entry in audit.summary.corruptions), default=0)
    return [
        row
        for row in rows
        if row["metric"] == "dice" and (row["probe"] in shown or (row["unit"] == "severity" and row["eps"] == last))
    ]


def shown_rows(rows: Iterable[Row]) -> list[Row]:
    """Those that the page holds."""
    left = {metric.name for metric in METRICS if not metric.compared}
    return [row for row in rows if row["metric"] not in left]


def difference_table(rows: Sequence[Row], family: Sequence[Row]) -> Table:
    """A table of such rows, with p-values where any row has one, which were adjusted over a family of rows."""
    tested = any(row["p"] is not None for row in rows)
    patients = max((row["patients"] or 0 for row in rows), default=0)
    over_patients = f" over {counted(patients, 'patient')}" if patients else " over cases"
    caption = (
        "Paired differences over the cases that both models hold: mean over cases of the second model minus the first, "
        f"with a 95 % interval{over_patients}, not corrected for the number of rows. "
        + (_TEST.format(rows=_tested(family)) if tested else "Marked *: the interval does not hold 0")
    )
    return table(caption, [_cells(row, tested) for row in rows])


def _tested(family: Sequence[Row]) -> str:
    """How many rows the p-values of a metric are adjusted over; they may differ between metrics."""
    counts = Counter(row["metric"] for row in family if row["p"] is not None)
    least, most = min(counts.values()), max(counts.values())
    return counted(most, "row") if least == most else f"{least} to {most} rows"


def _cells(gap: Row, tested: bool) -> dict[str, object]:
    interval, p = gap["ci95"], gap["p"]
    apart = p is not None and p < _LEVEL if tested else interval is not None and (interval[0] > 0 or interval[1] < 0)
    value = with_interval(gap["difference"], interval, sign=True)
    return {
        "Models": f"{gap['b']} \N{MINUS SIGN} {gap['a']}",
        "Probe": gap["probe"],
        "eps": _budget(gap),
        "Metric": _NAMES.get(gap["metric"], gap["metric"].replace("_", " ")),
        "Difference [95 % CI]": Cell(value.text + ("*" if apart else ""), value.note),
        "n": gap["n"],
        **({"p, adjusted": _chance(p)} if tested else {}),
    }


def _budget(gap: Row) -> str:
    if gap["unit"] == "severity":
        return f"severity {gap['eps']:g}"
    return short(gap["eps"]) if gap["eps"] else "0 (clean)"


def _chance(value: float | None) -> str:
    if value is None:
        return "not tested"
    return "< 0.001" if value < 0.001 else decimal(value)
