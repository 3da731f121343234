"""`margin_cases`: how far each case, each structure and each voxel is from breaking, over many cases of a checkpoint.

Each finished case is on disk, so that a killed run resumes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from imaseg.auditing.identity import claim
from imaseg.auditing.margin_case import CaseMargins
from imaseg.auditing.margin_cost import MarginCost
from imaseg.auditing.margin_record import MarginRecord
from imaseg.auditing.margin_results import summarise, summarise_maps, voxel_rows, write_margins, write_rows
from imaseg.auditing.margin_settings import MarginSettings
from imaseg.auditing.margin_voxel import LEGEND, VOXEL_COLUMNS
from imaseg.auditing.sharing import Claims, rank, shared, world
from imaseg.auditing.source import training_cases_among
from imaseg.auditing.subject import Failed, Subject
from imaseg.data import CaseSet
from imaseg.data.files import write_json
from imaseg.frozen import frozen
from imaseg.models import SegmentationModel
from imaseg.progress import duration
from imaseg.report.margin_page import write_margin_page


@dataclass(frozen=True)
class MeasuredCases:
    """Where the margins lie, and what went wrong.

    Attributes:
        folder: holds `margins.csv`, `margins.json`, `margins.html`, `cases/` and the maps that were asked for.
        content: of `margins.json`.
        records: one per finished case.
        failed: cases that could not be measured, each with its reason.
    """

    folder: Path
    content: dict[str, Any]
    records: list[MarginRecord]
    failed: Failed


def margin_cases(
    model: str | Path | SegmentationModel,
    cases: str | Path | CaseSet,
    settings: MarginSettings,
    out: str | Path,
    *,
    select: str | Sequence[str] | None = None,
    resume: bool = False,
    device: str | torch.device | None = None,
    announce: Callable[[str], None] | None = None,
    trust: bool = False,
) -> MeasuredCases:
    """Measure margins and write tables, maps and a page.

    Args:
        model: what `load_model` takes, or a loaded model.
        cases: what `load_cases` takes, or loaded cases; raw ones are prepared in memory by the model's own recipe.
        settings: what to measure.
        out: folder to write to.
        select: which cases: None for those held out of training, "all", the name of a split, or ids.
        resume: take finished cases in `out` as they are; refused if model, data or settings differ.
        device: where the model runs; None leaves it where it is.
        announce: told, before the first case, how many cases there are and how long they will take, and whether the
            model was trained on some of them.
        trust: as in `load_model`.

    Returns:
        What was written.

    Raises:
        InputError: if something does not fit, `out` holds something else, or no case could be measured.
    """
    subject = Subject.of(model, cases, select=select, device=device, trust=trust)
    folder, started = Path(out), time.perf_counter()
    cost = MarginCost(subject, settings)
    content = json.loads(json.dumps(asdict(settings)))
    run = subject.describe(content)
    claim(folder / "margins.json", run, what="margins", resume=resume, follow=rank() > 0)
    with frozen(subject.model):
        if announce is not None and rank() == 0:
            _announce(announce, subject, cost, len(subject.cases) - subject.finished(folder, MarginRecord))
        margins = CaseMargins(subject.model, subject.source, settings, folder)
        records, failed = subject.run("margin", folder, MarginRecord, margins.run, done="measured")
    if rank() > 0:
        return MeasuredCases(folder, {}, records, failed)
    run |= {
        "data": subject.data([record.case for record in records]),
        "structures": list(records[0].structures),
        "criterion": repr(settings.judge()),
        "summary": summarise(records),
        "forward_calls": sum(record.forward_calls for record in records),
        "backward_calls": sum(record.backward_calls for record in records),
        "case_seconds": round(sum(record.seconds for record in records), 1),
        "failed": failed,
        "seconds": round(time.perf_counter() - started, 1),
    }
    with Claims(folder).summing_up():
        write_margins(folder / "margins.csv", records)
        if any(record.maps for record in records):
            run["voxel_maps"] = {"values": LEGEND, "against_attack": summarise_maps(records)}
            write_rows(folder / "voxel_margins.csv", VOXEL_COLUMNS, voxel_rows(records))
        write_json(folder / "margins.json", run)
        write_margin_page(folder, folder / "margins.html")
    return MeasuredCases(folder, run, records, failed)


def _announce(announce: Callable[[str], None], subject: Subject, cost: MarginCost, left: int) -> None:
    """What is to be known before hours are spent."""
    for note in subject.notes:
        announce(note)
    if warning := training_cases_among(subject.cases, subject.model.card):
        announce(warning)
    if left and (seconds := cost.seconds()):
        head = f"{left} of {len(subject.cases)} cases ({subject.selection})"
        announce(f"{head}: about {duration(left * seconds)}{shared(world())}.")
