"""Metrics on unchanged images, per structure."""

from __future__ import annotations

from imaseg.report.audits import Audit, Audits, owner
from imaseg.report.blocks import Sentence, Table, table
from imaseg.report.compare import clean_point
from imaseg.report.metrics import shown_metrics
from imaseg.report.numerals import decimal, in_words, listing
from imaseg.report.sections.base import Section
from imaseg.report.sections.results import against, block_cells
from imaseg.report.works import WORKS


def build(audits: Audits) -> Section:
    """Clean metrics per class and model."""
    metrics = shown_metrics(audits)
    meanings = "".join(f"{metric.meaning}. " for metric in metrics if metric.meaning)
    return Section(
        110,
        "clean",
        "Clean metrics",
        "Clean metrics per structure",
        [_table(audits)],
        f"{meanings}Undefined: cases in which a metric has no value (for instance HD95 of an empty prediction); they "
        "are left out of its mean.",
        sentences=[
            Sentence("Mean foreground Dice on unchanged images:", tuple(_said(audits, audit) for audit in audits))
        ],
        methods=[
            f"Segmentations were scored by {listing([metric.said for metric in metrics])}, each averaged over the "
            "foreground structures of a case and then over cases, undefined values left out and counted."
        ],
        works=[WORKS["surface"]],
        limits=_limits(audits),
    )


def _table(audits: Audits) -> Table:
    metrics = shown_metrics(audits)
    rows = [
        {"Model": audit.name, "Structure": name, **block_cells(block, metrics)}
        for audit in audits
        for name, block in (
            *((audit.structure(value), block) for value, block in audit.summary.mean.items()),
            ("mean over foreground", audit.summary.foreground_mean),
        )
    ]
    sizes = ", ".join(f"{audit.name} n = {clean_point(audit).n}" for audit in audits)
    return table(f"Metrics on unchanged images, means over the cases where they are defined ({sizes})", rows)


def _said(audits: Audits, audit: Audit) -> str:
    point = clean_point(audit)
    text = f"{decimal(point.dice)} ({in_words(point.dice_ci95)}, n = {point.n})"
    change = "" if audit is audits[0] else against(audits[0].name, clean_point(audits[0]), point)
    return f"{owner(audits, audit)}{text}{change}"


def _limits(audits: Audits) -> list[str]:
    blocks = [audit.summary.foreground_mean for audit in audits]
    blocks += [block for audit in audits for block in audit.summary.mean.values()]
    blocks += [probe.foreground_mean for audit in audits for probe in audit.summary.probes]
    if not any(value for block in blocks for name, value in block.items() if name.endswith("_undefined")):
        return []
    return [
        "A metric is undefined where it has no value, such as HD95 where a structure is missing on one side. Means "
        "leave those cases out, so they look better than the segmentation is; the counts are stated."
    ]
