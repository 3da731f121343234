"""Audits without labels: volumes that move, and the cases that are most likely to be wrong."""

from __future__ import annotations

from collections.abc import Iterator

from imaseg.progress import counted
from imaseg.report.audits import Audit, Audits, model_column, owner
from imaseg.report.blocks import MISSING, Block, Cell, Details, Section, Sentence, Table, Text, table, with_interval
from imaseg.report.focus import standing_of
from imaseg.report.metrics import METRICS
from imaseg.report.wording import decimal, in_words, percent, some
from imaseg.results.base import Block as Scored
from imaseg.results.stability import Expected, MovedVolume, ScoreOfFailure, Stability
from imaseg.results.standing import Standing

_SHOWN = 10
_AGREEMENT = ("dice", "surface_dice", "surface_dice_2mm", "hd95")
_NAMES = {
    "agreement": "agreement under the smallest changes",
    "margin": "smallest margin",
    "voxel_margin": "mean margin of the voxels inside",
}
_METHOD = (
    "Predictions under change were compared with the model's own prediction of the unchanged image. Cases are ordered "
    "by the mean Dice between the two over the smallest changes. Risk is 1 - Dice with the label, and the area under "
    "the risk-coverage curve (Geifman & El-Yaniv 2017) the mean risk of the cases kept, over all numbers of cases."
)


def build(audits: Audits) -> Section | None:
    """Nothing for audits against labels."""
    held = [(audit, audit.summary.stability) for audit in audits if audit.summary.stability is not None]
    if not held:
        return None
    blocks: list[Block] = []
    for audit, found in held:
        if found.cases:
            blocks.append(_cases(audits, audit, found))
    if any(found.scores for _, found in held):
        blocks.append(_scores(audits, held))
    blocks += [_agreement(audits, audit) for audit, _ in held if _changed(audit)]
    blocks += [Details(f"{owner(audits, a)}Volumes under every change", [_volumes(a, f)]) for a, f in held if f.volumes]
    return Section(
        20,
        "stability",
        "Without labels: which predictions can be trusted",
        blocks,
        "All Dice on this page is agreement with the model's own prediction of the unchanged image: how stable "
        "predictions are, not how right. A model that finds nothing is perfectly stable.",
        "Stability",
        sentences=[Sentence("Against the model's own prediction:", tuple(_said(audits, held)))],
        notices=[
            "No labels were used: Dice, distances and volume errors on this page compare with the model's own "
            "prediction of the unchanged image, which is 1, 0 and 0 by definition where nothing is changed."
        ],
        methods=[_METHOD],
        limits=["Agreement with itself says how stable a model is. It cannot show that it is right."],
    )


def _said(audits: Audits, held: list[tuple[Audit, Stability]]) -> Iterator[str]:
    for audit, found in held:
        if found.volumes:
            most = max(found.volumes, key=lambda one: (one.moved, one.absolute))
            yield (
                f"{owner(audits, audit)}volumes move most under {most.change}: by more than {percent(found.limit)} in "
                f"{percent(most.moved)} of the {counted(most.n, 'case')} in which {audit.structure(most.structure)} is "
                "found"
            )
        for one in found.scores:
            if one.rank_correlation is not None:
                yield (
                    f"{owner(audits, audit)}where labels exist, {_NAMES[one.score]} goes with the Dice (rank "
                    f"correlation {decimal(one.rank_correlation, 2)}, {in_words(one.ci95)}, n = {one.n})"
                )


def _cases(audits: Audits, audit: Audit, found: Stability) -> Block:
    """The cases to look at first."""
    margins = any(case.margin is not None for case in found.cases)
    voxels = any(case.voxel_margin is not None for case in found.cases)
    labelled = any(case.dice is not None for case in found.cases)
    held = [case for case in found.cases if case.found]
    empty = [case.case for case in found.cases if not case.found]
    rows = [
        {
            "Case": case.case,
            "Agreement under the smallest changes": decimal(case.agreement),
            **({"Smallest margin / largest budget": decimal(case.margin)} if margins else {}),
            **({"Mean voxel margin inside / largest budget": _inside(case)} if voxels else {}),
            **({"Dice with the label": _UNLABELLED if case.dice is None else decimal(case.dice)} if labelled else {}),
        }
        for case in held[:_SHOWN]
    ]
    first = f", the first {_SHOWN} of {len(held)} (the others: summary.json)" if len(held) > _SHOWN else ""
    nothing = f". Before all of these: {counted(len(empty), 'case')} in which nothing is found ({some(empty)})"
    who = f"{owner(audits, audit)}Cases to look at first, by expected failure{first}{nothing if empty else ''}"
    return table(who, rows) if rows else Text(f"{who}.")


_UNLABELLED = MISSING._replace(text="no label")


def _inside(case: Expected) -> object:
    return MISSING if case.voxel_margin is None else decimal(case.voxel_margin)


def _scores(audits: Audits, held: list[tuple[Audit, Stability]]) -> Table:
    rows = [_score(audits, audit, one) for audit, found in held for one in found.scores]
    return table("How well that order fits the labels, where cases have them; a lower area is better", rows)


def _score(audits: Audits, audit: Audit, one: ScoreOfFailure) -> dict[str, object]:
    return {
        **model_column(audits, audit),
        "Score": _NAMES[one.score],
        "n": one.n,
        "Rank correlation with Dice": MISSING
        if one.rank_correlation is None
        else with_interval(one.rank_correlation, one.ci95, sign=True),
        "Area under risk-coverage": decimal(one.aurc),
        "the same at random": decimal(one.aurc_random),
        "the same, ordered by Dice": decimal(one.aurc_best),
    }


def _changed(audit: Audit) -> list[tuple[str, Scored]]:
    """Every attack at every budget and corruption at every severity."""
    attacks: list[tuple[str, Scored]] = [(f"{one.probe} {one.eps:g}", one) for one in audit.summary.probes]
    return attacks + [(f"{one.corruption} {one.severity}", one) for one in audit.summary.corruptions]


def _agreement(audits: Audits, audit: Audit) -> Details:
    """Volumes and surfaces apart: a shell may move though hardly any volume does."""
    columns = [metric for metric in METRICS if metric.name in _AGREEMENT]
    stands = standing_of(audit)
    rows = [
        {"Change": name, "n": len(block.metric_per_case)}
        | _over_found(stands, block)
        | {m.head: with_interval(block.foreground_mean.get(m.name), block.ci95.get(m.name)) for m in columns}
        for name, block in _changed(audit)
    ]
    caption = "Prediction under change against that of the unchanged image, mean over structures and cases"
    if stands.fallen:
        caption += f". {stands.sentence[:-1]}, which agree until something appears"
    return Details(f"{owner(audits, audit)}Volume and surface agreement under every change", [table(caption, rows)])


def _over_found(stands: Standing, block: Scored) -> dict[str, object]:
    """Agreement over the cases in which something is found, where there are others."""
    held = {*stands.cases}
    known = [case.dice for case in block.metric_per_case if case.case in held and case.dice is not None]
    mean = sum(known) / len(known) if known else None
    return {f"Dice, {stands.others}": decimal(mean)} if stands.fallen else {}


def _variation(one: MovedVolume) -> object:
    if one.variation is None:
        return Cell("drawn once", missing=True)
    return Cell(f"{decimal(100 * one.variation, 1)} %", f"over {counted(one.draws, 'draw')}" if one.draws else "")


def _signed(share: float) -> str:
    return f"{decimal(100 * share, 1, sign=True)} %"


def _volumes(audit: Audit, found: Stability) -> Table:
    varied = any(one.variation is not None for one in found.volumes)
    rows = [
        {
            "Change": one.change,
            "Structure": audit.structure(one.structure),
            "n": one.n,
            "Mean change of volume": _signed(one.mean),
            "Mean size of it": f"{decimal(100 * one.absolute, 1)} %",
            f"More than {percent(found.limit)}": f"{percent(one.moved, 2)} of cases",
            **({"Coefficient of variation over draws": _variation(one)} if varied else {}),
        }
        for one in found.volumes
    ]
    return table("Volume under change, relative to that on the unchanged image", rows)
