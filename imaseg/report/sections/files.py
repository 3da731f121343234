"""Attacked images as files: Dice in the model's space, from the files, and on their grid; what the files lost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from imaseg.report.audits import Audit, Audits
from imaseg.report.blocks import Cell, Details, Section, Table, table
from imaseg.report.wording import amount, decimal, percent, set_name, short
from imaseg.results.attack import AttackEntry, AttackRow, Written
from imaseg.results.base import MEAN

_STAGES = {
    "clean": "Clean",
    "attacked": "Attacked",
    "reread": "Read back",
    "clean_native": "Clean, grid of files",
    "reread_native": "Read back, grid of files",
}
_WHAT = (
    "Attacked images were written in the units and on the grid of their sources, read back, prepared and predicted "
    "again"
)


class _Case(NamedTuple):
    model: str
    case: str
    probe: str
    written: Written


def build(audits: Audits) -> Section | None:
    """Means over cases, and every case."""
    entries = [(audit, entry) for audit in audits for entry in audit.summary.probes if entry.written is not None]
    if not entries:
        return None
    cases = [case for audit in audits if any(audit is holder for holder, _ in entries) for case in _cases(audit)]
    blocks = [_means(entries), _lost(cases), Details("What each file holds", [_files(cases)])]
    lead = (
        f"{_WHAT}: rounding, clipping and resampling may undo what an attack found. A Dice counts once the file was "
        "read back."
    )
    return Section(100, "files", "Attacked images as files", blocks, lead, "Attacked files", methods=[f"{_WHAT}."])


def _cases(audit: Audit) -> Iterator[_Case]:
    for record in audit.cases:
        for found in record.rows_of(AttackRow):
            if found.written is not None:
                yield _Case(audit.name, record.case, found.probe, found.written)


def _means(entries: list[tuple[Audit, AttackEntry]]) -> Table:
    rows = [
        {
            "Model": audit.name,
            "Attack": Cell(f"{name}, {amount(entry.eps, entry.unit)}", entry.probe),
            "Structure": "mean over foreground" if structure == MEAN else audit.structure(structure),
            "n": entry.n,
            **_stages(stages),
        }
        for audit, entry in entries
        for name in [set_name(entry.perturbation, entry.within, entry.made_on)]
        for structure, stages in (entry.written or {})["dice"].items()
    ]
    return table("Mean Dice (0 to 1) over n cases, in the model's space and on the grid of the files", rows)


def _stages(dice: Mapping[str, float]) -> dict[str, str]:
    return {head: decimal(dice.get(stage)) for stage, head in _STAGES.items()}


def _lost(cases: list[_Case]) -> Table:
    rows = [
        {
            "Model": model,
            "Case": Cell(case, probe),
            **_stages(written.dice[MEAN]),
            "Astray": "another crop" if written.astray is None else percent(written.astray),
            "The attack in the file": written.note or "held",
        }
        for model, case, probe, written in cases
    ]
    caption = (
        "Mean foreground Dice of every case. Astray: how far what the model sees from the files is from the attack, as "
        "a share of the change"
    )
    return table(caption, rows)


def _files(cases: list[_Case]) -> Table:
    rows = [
        {
            "Model": model,
            "File": Cell(image.file, probe),
            "Type": image.dtype,
            "Changed voxels": f"{image.changed:,} of {image.wanted:,}",
            "At the limit": f"{image.at_limit:,}",
            "Rounding": percent(image.error),
            "Change read back (RMS)": short((written.sizes_reread or {}).get("rms")),
        }
        for model, _, probe, written in cases
        for image in written.images
    ]
    caption = (
        "Voxels that differ in the file, of those that the attack changes; voxels set to the end of the type's range; "
        "what rounding and range took from the change, as a share of it; and the change that the model sees from it"
    )
    return table(caption, rows)
