"""Instances, such as lesions: how many are found, missed and invented, clean and under change, in all and by size."""

from __future__ import annotations

from collections.abc import Iterator

from imaseg.report.audits import Audit, Audits, model_column, owner
from imaseg.report.blocks import MISSING, Cell, Section, Sentence, Table, table, with_interval
from imaseg.report.changes import Change, changes
from imaseg.report.compare import main_series, telling
from imaseg.report.intervals import over
from imaseg.report.wording import brief, decimal
from imaseg.results.summary import InstanceGroup

_SIZES = ("small", "medium", "large")
_TERMS = (
    "Missed: a labelled instance without a partner. Invented: a predicted one without. Recall, precision and F1 (RQ) "
    "are of the instances of all cases together (gates judge their means over cases); SQ, the mean IoU of pairs, and "
    "PQ = SQ x F1 are means over cases."
)
_LIMIT = (
    "Instances are matched one to one: of a lesion that is found in two parts one part counts as invented, and of two "
    "that are found as one, one counts as missed."
)


def build(audits: Audits) -> Section | None:
    """Nothing where no audit counts instances."""
    held = [audit for audit in audits if audit.summary.instances]
    if not held:
        return None
    rules = " ".join(dict.fromkeys(audit.summary.instances_rule for audit in held))
    points = tuple(f"{owner(audits, audit)}{text}" for audit in held for text in _said(audits, audit))
    return Section(
        122,
        "instances",
        "Instances: found, missed and invented",
        [_table(audits, held), _by_size(audits, held)],
        f"{rules} {_TERMS}",
        "Instances",
        sentences=[Sentence("Instances, such as lesions:", points)],
        methods=[f"Instances were counted as follows. {rules} Panoptic quality is that of Kirillov et al. (2019)."],
        works=["panoptic"],
        limits=[_LIMIT],
    )


def _structures(audit: Audit) -> list[str]:
    return list(dict.fromkeys(group.structure for group in audit.summary.instances))


def _shown(audits: Audits, audit: Audit) -> list[Change]:
    """The unchanged images, and every change that is shown."""
    return [Change("clean", 0.0, Cell("unchanged"), audit.summary), *changes(audits, audit, budgets=True)]


def _group(audit: Audit, structure: str, probe: str, eps: float, group: str = "all") -> InstanceGroup | None:
    wanted = (structure, group, probe, eps)
    found = (one for one in audit.summary.instances if (one.structure, one.group, one.probe, one.eps) == wanted)
    return next(found, None)


def _table(audits: Audits, held: Audits) -> Table:
    rows = [
        {
            "Images": change.name,
            **model_column(audits, audit),
            "Structure": audit.structure(structure),
            "n": one.n,
            "Labelled": one.labelled,
            "Missed": one.missed,
            "Invented": one.invented,
            "Recall": with_interval(one.recall, one.ci95["recall"]),
            "Precision": with_interval(one.precision, one.ci95["precision"]),
            "F1": with_interval(one.f1, one.ci95["f1"]),
            "SQ": decimal(change.block.mean[structure].get("instance_sq")),
            "PQ": decimal(change.block.mean[structure].get("instance_pq")),
        }
        for audit in held
        for structure in _structures(audit)
        for change in _shown(audits, audit)
        if (one := _group(audit, structure, change.probe, change.eps)) is not None
    ]
    return table(f"Instances in n cases, with 95 % intervals over {over(held)}", rows)


def _by_size(audits: Audits, held: Audits) -> Table:
    rows = [
        {
            "Images": change.name,
            **model_column(audits, audit),
            "Structure": audit.structure(structure),
            **{
                f"{size.capitalize()}: {head}": cell
                for size in _SIZES
                for head, cell in _rates(audit, structure, change, size)
            },
        }
        for audit in held
        for structure in _structures(audit)
        for change in _shown(audits, audit)
    ]
    return table(
        "By size: recall of labelled instances by their own volume, precision of predicted ones by theirs", rows
    )


def _rates(audit: Audit, structure: str, change: Change, size: str) -> Iterator[tuple[str, Cell]]:
    one = _group(audit, structure, change.probe, change.eps, size)
    if one is None:
        yield from (("recall", MISSING), ("precision", MISSING))
    else:
        yield "recall", Cell(decimal(one.recall), f"{one.labelled - one.missed} of {one.labelled}")
        yield "precision", Cell(decimal(one.precision), f"{one.predicted - one.invented} of {one.predicted}")


def _said(audits: Audits, audit: Audit) -> Iterator[str]:
    """Per structure: on unchanged images, and under the worst attack of the pictures' set."""
    series = main_series(audits)
    eps = telling(audits, series) if series else None
    for structure in _structures(audit):
        clean = _group(audit, structure, "clean", 0.0)
        under = _group(audit, structure, series.probe, eps) if series and eps is not None else None
        if clean is not None:
            last = (
                f"; {_counts(under)} under {series.title} at {brief(under.eps, series.unit)}"
                if series and under
                else ""
            )
            yield f"{audit.structure(structure)}: {_counts(clean)} on unchanged images{last}"


def _counts(one: InstanceGroup) -> str:
    return f"{one.labelled - one.missed} of {one.labelled} found, {one.invented} invented"
