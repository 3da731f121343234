"""How cases reached the model and how its output was read, and whether its own software predicts the same."""

from __future__ import annotations

from imaseg.report.audits import Audit, Audits, owner
from imaseg.report.blocks import Section, Table, table
from imaseg.report.wording import listing


def build(audits: Audits) -> Section:
    """One column per model, and which label was taken for which structure."""
    differ = [audit for audit in audits if audit.summary.agreement.agrees is False]
    return Section(
        145,
        "preparation",
        "How cases reached the model",
        [_facts(audits), *_labels(audits)],
        "A misread preparation makes every number of this page wrong. So it is stated as it was done, with the figures "
        "of one case, to be checked by whoever knows how the model was trained.",
        "Preparation",
        notices=[f"{owner(audits, audit)}{audit.summary.agreement.sentence}" for audit in differ],
        limits=[
            f"{owner(audits, audit)}{listing(audit.summary.preparation.postprocessing_left_out)} of the model's own "
            "postprocessing is left out, so that attacks see the network itself."
            for audit in audits
            if audit.summary.preparation.postprocessing_left_out
        ],
    )


def _facts(audits: Audits) -> Table:
    facts = [_stated(audit) for audit in audits]
    rows = [
        {"": name, **{audit.name: each[name] for audit, each in zip(audits, facts, strict=True)}} for name in facts[0]
    ]
    return table("Preparation, output and grid", rows, "wrap")


def _stated(audit: Audit) -> dict[str, str]:
    told, agreed = audit.summary.preparation, audit.summary.agreement
    return {
        "Prepared by": told.by,
        "Steps": _numbered(told.steps) or "none: as the files hold them",
        "Figures are those of": told.example or "no case",
        "Padding": told.padding,
        "Tiles": told.tiles,
        "Output of the network": f"{told.activation} ({told.activation_by})",
        "Classes without a label in the data": f"{listing(told.classes_left_out)}: counted as background"
        if told.classes_left_out
        else "none",
        "Postprocessing left out": ", ".join(told.postprocessing_left_out) or "none known",
        "Unit of the grey values": told.unit,
        "Dice is counted on": told.grid,
        "Compared with its own software": agreed.sentence if agreed.applies else agreed.reason,
    }


def _numbered(steps: list[str]) -> str:
    return "; ".join(f"({i}) {step}" for i, step in enumerate(steps, start=1)) if len(steps) > 1 else "".join(steps)


def _labels(audits: Audits) -> list[Table]:
    rows = [
        {
            **({"Model": audit.name} if len(audits) > 1 else {}),
            "Value in the data, after these steps": match.value,
            "Name in the data": match.name or "no name",
            "Structure of the model": f"{match.structure} {match.structure_name}",
            "Matched by": match.matched,
        }
        for audit in audits
        for match in audit.summary.preparation.labels
    ]
    return [table("Labels", rows, "wrap")] if rows else []
