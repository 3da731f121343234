"""`audit`: run a plan over many cases; each finished case is on disk, so that a killed audit resumes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from imaseg.auditing.engine.cost import Seconds, announcement, costs, measure
from imaseg.auditing.engine.identity import PATIENCE, claim, describe
from imaseg.auditing.engine.notices import notices
from imaseg.auditing.engine.sharing import wait_for
from imaseg.auditing.engine.shortened import shorten
from imaseg.auditing.engine.summary import summarise
from imaseg.auditing.engine.tables import write_tables
from imaseg.auditing.engine.work import Work, finished_record
from imaseg.auditing.inputs.budget import Budgeted, require_spacing, scale_of
from imaseg.auditing.inputs.randomness import SAMPLES
from imaseg.auditing.inputs.source import training_cases_among
from imaseg.auditing.inputs.subject import Subject
from imaseg.auditing.plan import Plan, load_plan
from imaseg.auditing.probes import Cost
from imaseg.auditing.validity.checks import CAUSES, missed
from imaseg.auditing.validity.gate import Gate, require_groups
from imaseg.data import CaseSet
from imaseg.data.files import must_remain, write_json
from imaseg.errors import InputError
from imaseg.frozen import frozen
from imaseg.models import SegmentationModel
from imaseg.models.finite import require_finite
from imaseg.models.free_memory import tiles_keep_graphs
from imaseg.models.precision import AUTO, Chosen, choose_precision, require_known
from imaseg.models.threads import threads_for
from imaseg.progress import counted
from imaseg.ranks import rank, world
from imaseg.report import write_report
from imaseg.results import Audit, CaseRecord, Summary, load
from imaseg.results.load import read_record
from imaseg.results.preparation import Agreement
from imaseg.results.run import CaseCost, FailedCase, Run


@dataclass(frozen=True)
class AuditResult:
    """Where an audit lies, and what went wrong.

    Attributes:
        folder: holds `summary.json`, `cases.csv`, `report.html`, `run.json`, `cases/`, and what probes write besides.
        failed: cases that could not be audited, each with its reason.
        finished: False in processes that leave the summary to the first one of `torchrun`.
    """

    folder: Path
    failed: list[FailedCase]
    finished: bool = True

    @cached_property
    def audit(self) -> Audit:
        """The results as objects.

        Raises:
            InputError: in processes that do not wait for the others.
        """
        return load(self.folder)

    @cached_property
    def summary(self) -> dict[str, Any]:
        """Content of `summary.json`; empty in processes that leave it to the first one."""
        return self.audit.summary.model_dump(mode="json") if self.finished else {}


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
    attacker: str | Path | SegmentationModel | None = None,
    groups: str | Path | None = None,
    gates: Sequence[Gate] = (),
    budget: float | None = None,
    precision: str = AUTO,
) -> AuditResult:
    """Audit a checkpoint.

    Under `torchrun` all processes share the cases and the first one writes the summary; other processes may join at any
    time with `resume`.

    Args:
        model: what `load_model` takes, or a loaded model.
        cases: what `load_cases` takes, or loaded cases; raw ones are prepared in memory by the model's own recipe.
        plan: "quick", "standard", "thorough", a YAML file, or a plan.
        out: folder to write `summary.json`, `cases.csv`, `report.html`, `run.json` and `cases/` to.
        select: which cases: None for those held out of training, "all", the name of a split, or ids.
        resume: take finished cases in `out` as they are; refused if model, data or plan differ.
        device: where the model runs; None leaves it where it is.
        announce: told, before the first case, how many cases there are, what each part of the plan will take, and
            whether the model was trained on some of them; after the last, which structures are next to never found.
        trust: as in `load_model`.
        attacker: another model of the same input; every attack of the plan is made on it too, and judged here.
        groups: CSV file with the column `case` and others, such as site or sex, by whose values results are grouped.
        gates: whose groups must be in that table, so that a wrong name is refused at once; `Gate.judge` judges them.
        budget: seconds that it may take: probes that are not expected to fit are left out, those of least worth first.
        precision: that searches take their gradients in: "float32", "bfloat16" or "float16"; "auto" takes half where a
            pass is faster on this machine and the model decides and leads alike on the first case. What is stated is
            computed in float32 always.

    Returns:
        Where the results lie; `.summary` and `.audit` read them.

    Raises:
        InputError: if something does not fit, `out` holds another audit, or no case could be audited.
    """
    folder, started = Path(out), time.perf_counter()
    how: dict[str, Any] = {"select": select, "device": device, "trust": trust, "attacker": attacker}
    how |= {"groups": groups, "gates": gates}
    subject, settings = _checked(model, cases, plan, **how)
    kept = _kept_threads(folder)
    with tiles_keep_graphs(subject.model), threads_for(subject.model, _first_image(subject), kept=kept) as chosen:
        subject = subject.led_in(_precision(subject, settings, folder, precision, resume=resume))
        with frozen(subject.model):
            settings, seconds = _shortened(subject, settings, folder, budget, gates, resume=resume)
        told: dict[str, Any] = {"announce": announce, "started": started, "threads": chosen, "seconds": seconds}
        told["asked"] = precision if _led(settings) else AUTO
        return _audit(subject, settings, folder, resume=resume, **told)


def _shortened(
    subject: Subject,
    plan: Plan,
    folder: Path,
    budget: float | None,
    gates: Sequence[Gate],
    *,
    resume: bool,
    dry_run: bool = False,
) -> tuple[Plan, Seconds | None]:
    """The plan that fits the budget: the same one for all processes, and for those that resume."""
    if budget is None:
        return plan, None
    path = folder / "run.json"
    if rank() > 0 and not dry_run:
        wait_for(path, PATIENCE)
    known = path.is_file() and (resume or rank() > 0)
    return shorten(subject, plan, budget, gates=gates, before=read_record(path, Run).plan if known else None)


def _precision(
    subject: Subject, plan: Plan, folder: Path, asked: str, *, resume: bool, dry_run: bool = False
) -> Chosen:
    """What searches take their gradients in: the same for all processes, and for those that resume."""
    require_known(asked)
    path = folder / "run.json"
    if rank() > 0 and not dry_run:
        wait_for(path, PATIENCE)
    if path.is_file() and (resume or rank() > 0):
        return _as_begun(folder, read_record(path, Run), asked if _led(plan) else AUTO)
    if not _led(plan):
        return Chosen()
    return choose_precision(subject.model, _image_of(subject), asked)


def _led(plan: Plan) -> bool:
    """Whether anything in the plan is searched along gradients of the audited model."""
    return any(probe.led for probe in plan.probes)


def _as_begun(folder: Path, run: Run, asked: str) -> Chosen:
    """The precision of an audit that goes on.

    Raises:
        InputError: if another one is asked for.
    """
    if asked not in (AUTO, run.precision):
        msg = f"{folder} must be resumed in {run.precision}, as it was begun, got --precision {asked}. Leave it out."
        raise InputError(msg)
    return Chosen(run.precision, run.precision_because)


def rehearse(
    model: str | Path | SegmentationModel,
    cases: str | Path | CaseSet,
    plan: str | Path | Plan,
    out: str | Path,
    *,
    announce: Callable[[str], None],
    resume: bool = False,
    budget: float | None = None,
    precision: str = AUTO,
    **how: Any,
) -> None:
    """Tell `announce` what `audit` would do and how long it would take; nothing is written.

    Args:
        model: as of `audit`, and so the rest.
        cases: what is audited.
        plan: what is measured.
        out: folder of the audit, whose finished cases need not be done again.
        announce: what tells people.
        resume: whether `out` may hold a part of this audit.
        budget: seconds that it may take.
        precision: of the gradients of searches.
        how: `select`, `device`, `trust`, `attacker`, `groups` and `gates`.

    Raises:
        InputError: if something does not fit.
    """
    subject, settings = _checked(model, cases, plan, **how)
    model = subject.model
    with tiles_keep_graphs(model), threads_for(model, _first_image(subject)) as chosen, frozen(model):
        subject = subject.led_in(_precision(subject, settings, Path(out), precision, resume=resume, dry_run=True))
        gates = how.get("gates") or ()
        settings, seconds = _shortened(subject, settings, Path(out), budget, gates, resume=resume, dry_run=True)
        claim(Path(out), describe(subject, settings, subject.preparation()), resume=resume, dry_run=True)
        parts = _parts(subject, settings)
        _announce(announce, subject, settings, parts, Path(out), seconds)
        for words in filter(None, (chosen, subject.precision.words)):
            announce(words)


def _checked(
    model: str | Path | SegmentationModel,
    cases: str | Path | CaseSet,
    plan: str | Path | Plan,
    *,
    gates: Sequence[Gate] = (),
    **how: Any,
) -> tuple[Subject, Plan]:
    """Model and cases, and the plan as it is run on them; refused if they do not fit."""
    settings = load_plan(plan, trust=how["trust"])
    subject = Subject.of(model, cases, reference=settings.reference, **how)
    require_groups(gates, subject.grouped)
    settings = settings if how["attacker"] is None else settings.transferred()
    settings = settings.averaged(SAMPLES) if subject.random else settings
    require_finite(subject.model, source=f"model {subject.model.card.name}")
    _try(subject, settings)
    return subject, settings


def _audit(
    subject: Subject,
    settings: Plan,
    folder: Path,
    *,
    resume: bool,
    asked: str,
    announce: Callable[[str], None] | None,
    started: float,
    threads: str,
    seconds: Seconds | None,
) -> AuditResult:
    run = describe(subject, settings, subject.preparation())
    claim(folder, run, resume=resume, follow=rank() > 0)
    held = read_record(folder / "run.json", Run)  # another process may have made it meanwhile, and chosen otherwise
    subject = subject.led_in(_as_begun(folder, held, asked))
    run = run.model_copy(update={"precision": held.precision, "precision_because": held.precision_because})
    with frozen(subject.model), frozen(subject.attacker.model if subject.attacker else subject.model):
        parts = _parts(subject, settings)
        if announce is not None and rank() == 0:
            for words in filter(None, (threads, subject.precision.words)):
                announce(words)
            seconds = _announce(announce, subject, settings, parts, folder, seconds)
        agreed = _agreement(folder, subject, settings, announce) if rank() == 0 else None
        subject.forget_first()
        work = Work(subject, settings, folder, parts, seconds)
        records, failed = work.run(wait=rank() == 0)
    if rank() > 0:
        return AuditResult(folder, failed, finished=False)
    if not records:
        msg = f"no case of {subject.cases.root} could be audited. First reason: {failed[0].reason}"
        raise InputError(msg)
    data = subject.data([record.case for record in records])
    if announce is not None:
        for name, dice in missed(records, data).items():
            announce(f"Warning: {name} is next to never found, clean Dice at most {dice:.3f}. Look at {CAUSES}.")
    run = run.model_copy(
        update=_spent(records)
        | {"agreement": agreed, "seconds": round(time.perf_counter() - started, 1), "failed": failed}
    )
    summary = summarise(records, settings, run=run, data=data, grouped=subject.grouped)
    with work.claims.summing_up():
        _write(folder, settings, records, summary, run)
    return AuditResult(folder, failed)


def _parts(subject: Subject, plan: Plan) -> list[Cost]:
    return costs(plan, len(subject.model.card.structures), len(subject.cases), half=subject.precision.half)


def _first_image(subject: Subject) -> torch.Tensor | None:
    """What passes are timed on; under `torchrun` nothing, since it sets the threads of its processes."""
    return None if world() > 1 else _image_of(subject)


def _image_of(subject: Subject) -> torch.Tensor | None:
    """Image (1, C, *spatial) of the first case that can be read; None if there is none."""
    return None if subject.first is None else torch.from_numpy(subject.first.volume.image)[None]


def _kept_threads(folder: Path) -> int | None:
    """Number of threads of the audit that a folder holds, if there is one."""
    path = folder / "run.json"
    threads = read_record(path, Run).hardware.get("threads") if path.is_file() else None
    return int(threads) if threads and world() == 1 else None


def _agreement(folder: Path, subject: Subject, plan: Plan, announce: Callable[[str], None] | None) -> Agreement:
    """Compare with the model's own software, once for a folder, and say at once if the two differ."""
    path = folder / "run.json"
    run = read_record(path, Run)
    if run.agreement is not None:
        return run.agreement
    agreed = subject.agreement() if plan.verify else Agreement(reason="the plan says `verify: false`.")
    write_json(path, run.model_copy(update={"agreement": agreed}).model_dump(mode="json"))
    if announce is not None and agreed.dice is not None:
        announce(agreed.sentence if agreed.agrees else f"Warning: {agreed.sentence}")
    return agreed


def _try(subject: Subject, plan: Plan) -> None:
    """Build the sets on the first case that can be read, so that a unit that it does not have is refused at once.

    Raises:
        InputError: if one does not fit.
    """
    first, known = subject.first, subject.model.card.groups
    if plan.instances and (strange := [k for k in plan.instances.classes if k not in known]):
        names = subject.model.card.labels
        listed = ", ".join(f"{k} {names.get(k, '')}".strip() for k in known)
        msg = f"instances.classes must be among the structures of the model ({listed}), got {strange[0]}."
        raise InputError(msg)
    if subject.attacker is None and any(probe.transferred for probe in plan.attacks):
        msg = "transferred attacks must be made on another model, got none. Name it with --from."
        raise InputError(msg)
    if first is None:
        return
    if subject.attacker is not None:
        subject.attacker.require_same_input(subject.cases.select([first.volume.id])[0], first)
    for probe in plan.probes:
        try:
            if isinstance(probe, Budgeted):
                probe.build_set(0.0, scale_of(first))
                if probe.within is not None:
                    require_spacing(first)
        except ValueError as error:
            msg = f"{probe.name}: {error} (case {first.volume.id})"
            raise InputError(msg) from error


def _write(folder: Path, plan: Plan, records: Sequence[CaseRecord], summary: Summary, run: Run) -> None:
    """Tables, run, summary, page."""
    for mark in ("run.json", *(f"cases/{record.case}.json" for record in records)):
        must_remain(folder / mark)
    write_tables(folder, plan, records, summary)
    write_json(folder / "run.json", run.model_dump(mode="json"))
    write_json(folder / "summary.json", summary.model_dump(mode="json"))
    write_report([folder], folder / "report.html")


def _spent(records: Sequence[CaseRecord]) -> dict[str, Any]:
    """Time, memory and calls, in all and by case, over all processes that did cases."""
    return {
        "case_seconds": round(sum(record.seconds for record in records), 2),
        "processes": len({record.process for record in records if record.process}),
        "cost_per_case": {
            record.case: CaseCost(seconds=record.seconds, peak_memory_mb=record.peak_memory_mb) for record in records
        },
        "forward_calls": sum(record.forward_calls for record in records),
        "backward_calls": sum(record.backward_calls for record in records),
    }


def _announce(
    announce: Callable[[str], None],
    subject: Subject,
    plan: Plan,
    parts: Sequence[Cost],
    folder: Path,
    seconds: Seconds | None = None,
) -> Seconds | None:
    """What is to be known before hours are spent; returns what was measured, now or before."""
    cases = subject.cases
    if plan.shortened is not None:
        announce(plan.shortened.words)
    for note in subject.notes:
        announce(note)
    if subject.held_out_missing or subject.selection.partition(",")[0] in ("all", "unseen"):
        announce(subject.because)  # of the others the line below says whose word they are
    if warning := training_cases_among(cases, subject.model.card):
        announce(warning)
    for note in notices(subject, plan):
        announce(note)
    if cases.prepared is not None and any(getattr(probe, "write", None) == "nifti" for probe in plan.probes):
        announce(f"{cases.root} is prepared: images are written on its grid and in its intensities.")
    left = [place for place, case in enumerate(cases) if finished_record(folder, case.id) is None]
    head = f"{counted(len(cases), 'case')} ({subject.selection}), plan {plan.name}"
    if not left:
        announce(f"{head}: all finished before.")
        return None
    seconds = measure(subject, plan) if seconds is None else seconds
    if seconds is not None:
        announce(announcement(head, seconds, len(cases), parts, left, processes=world()))
    return seconds
