"""Audits and records derived from real ones."""

from __future__ import annotations

from dataclasses import replace

from imaseg.results.base import MEAN


def vary(audit, name="other", *, run=None, **summary):
    """The audit under another name, with other fields of its summary and of its run."""
    model = summary.pop("model", audit.summary.model)
    changed = audit.summary.model_copy(update={**summary, "model": model})
    return replace(audit, name=name, summary=changed, run=audit.run.model_copy(update=run or {}))


def with_intervals(audit):
    """The audit as if of so many cases that every mean has an interval, from its half to 0.1 above it."""

    def ends(block):
        return {name: [value / 2, value + 0.1] for name, value in block.foreground_mean.items() if value is not None}

    lists = {
        name: [entry.model_copy(update={"ci95": ends(entry)}) for entry in getattr(audit.summary, name)]
        for name in ("probes", "corruptions")
    }
    clean = ends(audit.summary)
    return vary(audit, audit.name, ci95=clean, clean_dice_ci95=clean["dice"], **lists)


def with_dice(block, dice):
    """A block of metrics with this Dice for each case, its mean, and no interval."""
    cases = [
        case.model_copy(update={"metrics": case.metrics | {MEAN: case.metrics[MEAN] | {"dice": value}}})
        for case, value in zip(block.metric_per_case, dice, strict=True)
    ]
    known = [value for value in dice if value is not None]
    mean = sum(known) / len(known) if known else None
    foreground = block.foreground_mean | {"dice": mean}
    return block.model_copy(update={"metric_per_case": cases, "foreground_mean": foreground})


def entries(audit, **wanted):
    """Attack entries whose fields are these."""
    return [e for e in audit.summary.probes if all(getattr(e, key) == value for key, value in wanted.items())]


def blocks_of(section, kind):
    """Every block of a kind in a section, those inside other blocks too."""
    inside = list(section.blocks)
    for block in inside:
        inside += getattr(block, "blocks", [])
    return [block for block in inside if block.kind == kind]


def texts(table):
    """Rows of a table as text."""
    return [[cell.text for cell in row] for row in table.rows]


def with_native_dice(block, value):
    """A block of metrics with this Dice on the grid of the files for each case, structure and mean."""
    more = {"native_dice": value}
    cases = [
        case.model_copy(update={"metrics": {k: values | more for k, values in case.metrics.items()}})
        for case in block.metric_per_case
    ]
    means = {k: values | more for k, values in block.mean.items()}
    update = {"foreground_mean": block.foreground_mean | more, "mean": means, "metric_per_case": cases}
    return block.model_copy(update=update)


def on_files(audit, value):
    """The audit with this Dice on the grid of the files, everywhere."""
    lists = {
        name: [with_native_dice(entry, value) for entry in getattr(audit.summary, name)]
        for name in ("probes", "corruptions")
    }
    clean = with_native_dice(audit.summary, value)
    return vary(
        audit, audit.name, **lists, mean=clean.mean, foreground_mean=clean.foreground_mean,
        metric_per_case=clean.metric_per_case, native_dice={"foreground_mean": value},
    )  # fmt: skip
