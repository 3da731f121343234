"""`audit`: run a plan over many cases; each finished case is on disk, so that a killed audit resumes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from imaseg.auditing.case import CaseAudit, CaseRecord
from imaseg.auditing.cost import estimate
from imaseg.auditing.fitting import fit
from imaseg.auditing.identity import claim, describe
from imaseg.auditing.plan import Plan, load_plan
from imaseg.auditing.results import read_case, summarise, write_case, write_table
from imaseg.auditing.source import CaseSource, choose, training_cases_among
from imaseg.data import CaseSet, load_cases
from imaseg.data.files import write_json
from imaseg.errors import InputError
from imaseg.frozen import frozen
from imaseg.models import SegmentationModel, load_model
from imaseg.progress import bar, duration
from imaseg.report import write_report


@dataclass(frozen=True)
class AuditResult:
    """Where an audit lies, and what went wrong.

    Attributes:
        folder: holds `summary.json`, `cases.csv`, `report.html`, `run.json` and `cases/`.
        summary: content of `summary.json`.
        failed: cases that could not be audited, each with its reason.
    """

    folder: Path
    summary: dict[str, Any]
    failed: list[dict[str, str]]


def audit(
    model: str | Path | SegmentationModel,
    cases: str | Path | CaseSet,
    plan: str | Path | Plan,
    out: str | Path,
    *,
    select: str | Sequence[str] | None = None,
    resume: bool = False,
    device: str | torch.device | None = None,
    announce: Callable[[str], None] | None = None,
    trust: bool = False,
) -> AuditResult:
    """Audit a checkpoint.

    Args:
        model: what `load_model` takes, or a loaded model.
        cases: what `load_cases` takes, or loaded cases; raw ones are prepared in memory by the model's own recipe.
        plan: "quick", a YAML file, or a plan.
        out: folder to write `summary.json`, `cases.csv`, `report.html`, `run.json` and `cases/` to.
        select: which cases: None for those held out of training, "all", the name of a split, or ids.
        resume: take finished cases in `out` as they are; refused if model, data or plan differ.
        device: where the model runs; None leaves it where it is.
        announce: told, before the first case, how many cases there are and how long they will take, and whether the
            model was trained on some of them.
        trust: as in `load_model`.

    Returns:
        The summary, also on disk.

    Raises:
        InputError: if something does not fit, `out` holds another audit, or no case could be audited.
    """
    settings = load_plan(plan)
    network = model if isinstance(model, SegmentationModel) else load_model(model, trust=trust)
    network = network if device is None else network.to(device)
    cohort = cases if isinstance(cases, CaseSet) else load_cases(cases)
    chosen, selection = choose(cohort, network.card, select)
    fitted = fit(network, chosen)
    network = fitted.model
    source = CaseSource(chosen, network.card, network.prepare)
    folder, started = Path(out), time.perf_counter()
    spec = str(model) if not isinstance(model, SegmentationModel) else ""
    run = describe(network, spec, chosen, settings.model_dump())
    claim(folder / "run.json", run, what="an audit", resume=resume)
    if announce is not None:
        for note in fitted.notes:
            announce(note)
    with frozen(network):
        if announce is not None and (warning := training_cases_among(chosen, network.card)):
            announce(warning)
        if announce is not None and (seconds := estimate(network, chosen, source, settings)):
            announce(f"{len(chosen)} cases ({selection}), plan {settings.name}: about {duration(seconds)}.")
        records, failed = _run_cases(network, chosen, source, settings, folder)
    if not records:
        msg = f"no case of {chosen.root} could be audited. First reason: {failed[0]['reason']}"
        raise InputError(msg)
    seen = [record.case for record in records if record.case in set(network.card.train_ids)]
    data = {"name": chosen.name, "cases": len(records), "selection": selection, "seen_in_training": seen}
    data["notes"] = list(fitted.notes)
    data["labels"] = {str(value): label for value, label in network.card.labels.items() if value > 0}
    summary = {
        "model": run["model"],
        "data": data,
        **summarise(records, settings, labels=network.card.labels, seen=seen),
    }
    write_table(folder / "cases.csv", records)
    run |= {
        "seconds": round(time.perf_counter() - started, 1),
        "case_seconds": round(sum(record.seconds for record in records), 1),
        "forward_calls": sum(record.forward_calls for record in records),
        "backward_calls": sum(record.backward_calls for record in records),
        "failed": failed,
    }
    write_json(folder / "run.json", run)
    write_json(folder / "summary.json", summary)
    write_report([folder], folder / "report.html")
    return AuditResult(folder, summary, failed)


def _run_cases(
    model: SegmentationModel, cases: CaseSet, source: CaseSource, plan: Plan, folder: Path
) -> tuple[list[CaseRecord], list[dict[str, str]]]:
    checked = set(cases.ids[: plan.validity.cases]) if plan.validity else set()
    records, failed = [], []
    with bar(f"audit {model.card.name}") as tell:
        for number, case in enumerate(cases):
            tell(number, len(cases), case.id)
            record = read_case(folder / "cases", case.id)
            if record is None:
                begin = time.perf_counter()
                try:
                    volume, scale = source.read(case)
                    runner = CaseAudit(model, volume, plan, native_scale=scale)
                    record, slices = runner.run(checks=case.id in checked)
                    record.seconds = round(time.perf_counter() - begin, 2)
                    write_case(folder / "cases", record, slices)
                except (InputError, RuntimeError, ValueError) as error:
                    failed.append({"case": case.id, "reason": str(error)})
                    continue
            records.append(record)
        tell(len(cases), len(cases), "")
    return records, failed
