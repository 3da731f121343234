"""Metrics on unchanged images, per structure."""

from __future__ import annotations

from imaseg.report.audits import Audit, Audits, labels_are_predictions, owner
from imaseg.report.blocks import Section, Sentence, Table, table
from imaseg.report.compare import against, clean_point
from imaseg.report.metrics import metric_cells, shown_metrics
from imaseg.report.wording import decimal, in_words, listing
from imaseg.results.base import MEAN


def build(audits: Audits) -> Section | None:
    """Clean metrics per class and model; nothing where predictions are compared with themselves."""
    if labels_are_predictions(audits):
        return None
    metrics = shown_metrics(audits)
    meanings = "".join(f"{metric.meaning}. " for metric in metrics if metric.meaning)
    points = tuple(_said(audits, audit) for audit in audits)
    return Section(
        110,
        "clean",
        "Clean metrics per structure",
        [_table(audits)],
        f"{meanings}Undefined: cases in which a metric has no value; they are left out of its mean, unless it says "
        "penalised.",
        "Clean metrics",
        sentences=[Sentence("Mean foreground Dice on unchanged images:", points)],
        methods=[
            f"Segmentations were scored by {listing(metric.said for metric in metrics)}, each averaged over the "
            "foreground structures of a case and then over cases; undefined values are left out, those of HD95 taken "
            "as the diagonal of the image, and both are counted."
        ],
        works=["surface"],
        limits=_limits(audits),
    )


def _table(audits: Audits) -> Table:
    metrics, rows = shown_metrics(audits), []
    for audit in audits:
        blocks = audit.summary.mean | {MEAN: audit.summary.foreground_mean}
        for value, block in blocks.items():
            name = "mean over foreground" if value == MEAN else audit.structure(value)
            rows.append({"Model": audit.name, "Structure": name, **metric_cells(block, metrics)})
    sizes = ", ".join(f"{audit.name} n = {clean_point(audit).n}" for audit in audits)
    return table(f"Metrics on unchanged images, means over the cases where they are defined ({sizes})", rows)


def _said(audits: Audits, audit: Audit) -> str:
    point = clean_point(audit)
    change = against(audits, audit, clean_point(audits[0]), point)
    native = audit.summary.native_dice.get(MEAN)
    there = "" if native is None else f"; counted on the grid of the files {decimal(native)}"
    return f"{owner(audits, audit)}{decimal(point.dice)} ({in_words(point.dice_ci95)}, n = {point.n}{there}){change}"


def _limits(audits: Audits) -> list[str]:
    means = [block for a in audits for block in (a.summary, *a.summary.probes)]
    blocks = [scores for block in means for scores in (block.foreground_mean, *block.mean.values())]
    if not any(value for block in blocks for name, value in block.items() if name.endswith("_undefined")):
        return []
    return [
        "A metric is undefined where it has no value. Means leave those cases out, so they may look better than the "
        "segmentation is; the counts are stated."
    ]
