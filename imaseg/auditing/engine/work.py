"""Audits the cases that are neither finished nor locked by another process."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

import torch

from imaseg.auditing.engine.cost import Seconds
from imaseg.auditing.engine.memory import forget_peak, is_shortage, peak_mb, shortage
from imaseg.auditing.engine.pace import Pace
from imaseg.auditing.engine.sharing import Claims
from imaseg.auditing.inputs.subject import Subject
from imaseg.auditing.plan import Plan
from imaseg.auditing.probes import Cost
from imaseg.auditing.probes.scene import Scene, sha256
from imaseg.auditing.validity.case import CHECKS, CaseChecks
from imaseg.data import Case
from imaseg.data.files import must_remain, write_json
from imaseg.errors import InputError, OutputError
from imaseg.progress import Tell, bar, counted, duration, step_line
from imaseg.ranks import world
from imaseg.results.attack import AttackRow
from imaseg.results.base import MEAN
from imaseg.results.case import CaseRecord
from imaseg.results.load import read_case
from imaseg.results.run import FailedCase
from imaseg.results.summary import Shown

_LOG = logging.getLogger("imaseg")


class Work:
    """Runs a plan over the cases of a folder, next to any other processes that do.

    Args:
        subject: model, held still, and cases.
        plan: what to do with each case.
        folder: of the audit.
        parts: of the plan, with the calls each takes: what the bar counts.
        seconds: that calls take, by which the time left is told; None where that was not measured.
    """

    def __init__(
        self, subject: Subject, plan: Plan, folder: Path, parts: Sequence[Cost], seconds: Seconds | None = None
    ) -> None:
        self.subject, self.plan, self.folder, self.parts = subject, plan, folder, parts
        self.cases = subject.cases
        self.claims = Claims(folder)
        self.records: dict[str, CaseRecord] = {}
        self.failed: dict[str, str] = {}
        self.pace = Pace(parts, seconds)
        self._calls: dict[str, int] = {}
        self._places: dict[str, int] = {}
        self._process = uuid.uuid4().hex[:12]

    def run(self, *, wait: bool) -> tuple[list[CaseRecord], list[FailedCase]]:
        """Until no case is left that is neither finished nor failed nor another process's.

        Args:
            wait: for those of others too; where one of them dies, its case is done here.

        Returns:
            Finished cases, and those that failed here, each with its reason; both in the order of the cases.
        """
        # What an earlier run finished would make this one look fast.
        self._places = {case.id: place for place, case in enumerate(self.cases) if not self._finished(case)}
        self._calls = {name: self._calls_at(place) for name, place in self._places.items()}
        with bar(f"{self.plan.name} {self.subject.model.card.name}", shown=wait, unit="calls") as tell:
            places = {case.id: (place, case) for place, case in enumerate(self.cases)}

            def settled(name: str) -> bool:
                if name in self.records or name in self.failed:
                    return True
                done = self._finished(places[name][1])
                self._show(tell, [], "")
                return done

            self.claims.share(places, settled, lambda name: self._try(*places[name], tell), wait=wait)
        ids = self.cases.ids
        failed = [FailedCase(case=name, reason=self.failed[name]) for name in ids if name in self.failed]
        return [self.records[name] for name in ids if name in self.records], failed

    def _finished(self, case: Case) -> bool:
        if case.id not in self.records and (record := finished_record(self.folder, case.id)) is not None:
            self.records[case.id] = record
        return case.id in self.records

    def _try(self, place: int, case: Case, tell: Tell) -> None:
        """Do one case; what goes wrong with it stays with it."""
        self._show(tell, [], case.id, begun=place)
        model, shape = self.subject.model, ()
        device = next(model.parameters()).device
        begin = time.perf_counter()
        forget_peak(device)
        try:
            loaded = self.subject.source.load(case)
            shape = loaded.volume.image.shape
            scene = Scene(
                model,
                self.subject.source,
                case,
                loaded,
                folder=self.folder,
                seed=self.plan.seed,
                checked=self.plan.validity is not None and place < self.plan.validity.cases,
                showcase=self.plan.shown,
                random=self.subject.random,
                attacker=self.subject.attacker,
                instances=self.plan.instances,
                precision=self.subject.precision.name,
            )
            self._examine(scene, place, tell, begin)
        except OutputError:  # the next case would not be written either
            raise
        except Exception as error:  # a plug-in may raise anything, and the other cases go on
            _LOG.info("case %s failed", case.id, exc_info=error)
            self.failed[case.id] = shortage(shape, device) if is_shortage(error) else _reason(error)
            if device.type == "cuda":
                torch.cuda.empty_cache()

    def _examine(self, scene: Scene, place: int, tell: Tell, begin: float) -> None:
        """Every part of the plan; the JSON comes last, since its presence says that the case is done."""
        name, done, last = scene.case.id, list[str](), begin

        def part_done(run: str) -> None:
            nonlocal last
            now = time.perf_counter()
            self.pace.took(run, place, now - last)
            last = now
            done.append(run)
            self._show(tell, done, f"{name}, {run} done", begun=place)

        try:
            clean = scene.clean_scores
            for probe in self.plan.probes:
                if probe.cases is None or place < probe.cases:
                    scene.rows += probe.run(scene)
                    part_done(probe.name)
            if scene.checked:
                CaseChecks(scene, self.plan).run()
                part_done(CHECKS)
            record = CaseRecord(
                case=name,
                patient=scene.source.patient(scene.case),
                clean=clean,
                truth=scene.truth_scores,
                volumes=scene.volumes,
                scale=scene.scale,
                rows=scene.rows,
                checks=scene.results_of_checks(),
                files=scene.files,
                forward_calls=scene.forward_calls,
                backward_calls=scene.backward_calls,
                seconds=round(time.perf_counter() - begin, 2),
                process=self._process,
                peak_memory_mb=peak_mb(scene.image.device),
            )
            must_remain(self.folder / "run.json")
            write_json(self.folder / "cases" / f"{name}.json", record.model_dump(mode="json"))
        except BaseException:
            scene.forget_files()
            raise
        self.records[name] = record
        settled = len(self.records) + len(self.failed)
        count = f"{settled} of {counted(len(self.cases), 'case')}"
        step_line(f"Case {name} done in {duration(record.seconds)}, {count}{self._so_far()}.")

    def _so_far(self) -> str:
        """Mean Dice of the cases that are finished, unchanged and under what the pictures show: an early answer."""
        shown, records = self.plan.shown, [*self.records.values()]
        known = [(record.clean[MEAN]["dice"], _dice_of(record, shown)) for record in records]
        pairs = [(clean, attacked) for clean, attacked in known if clean is not None and attacked is not None]
        if shown is None or not pairs:
            return ""
        clean, attacked = (sum(values) / len(pairs) for values in zip(*pairs, strict=True))
        unchanged = "" if self.subject.source.reference is not None else f"{clean:.3f} unchanged, "
        return f"; mean Dice so far {unchanged}{attacked:.3f} under {shown.probe} at {shown.eps:g} {shown.unit}"

    def _show(self, tell: Tell, done: Sequence[str], note: str, *, begun: int | None = None) -> None:
        """Move the bar: calls of what is done, of all that there were to do."""
        settled = {*self.records, *self.failed}
        made = sum(number for name, number in self._calls.items() if name in settled)
        if begun is not None:
            made += sum(part.calls for part in self.parts if part.run in done and part.covers(begun))
        left = self.pace.left(
            [place for name, place in self._places.items() if name not in settled], begun=begun, done=done
        )
        workers = {record.process for name, record in self.records.items() if name in self._places} | {self._process}
        tell(
            made,
            sum(self._calls.values()),
            f"{len(settled)} of {counted(len(self.cases), 'case')}; {note}" if note else "",
            None if left is None else left / max(len(workers), world()),
        )

    def _calls_at(self, place: int) -> int:
        return sum(part.calls for part in self.parts if part.covers(place))


def _dice_of(record: CaseRecord, shown: Shown | None) -> float | None:
    """Dice of a case under what is shown; None where that was not run on it."""
    rows = [] if shown is None else record.rows_of(AttackRow, shown.probe)
    return next((row.dice for row in rows if shown is not None and row.eps == shown.eps), None)


def _reason(error: Exception) -> str:
    """What went wrong, in one line; errors that were not meant for the user say of which type they are."""
    text = " ".join(str(error).split())
    return text if text and isinstance(error, InputError | RuntimeError) else f"{type(error).__name__}: {text}"


def finished_record(folder: Path, case: str) -> CaseRecord | None:
    """The record of a finished case, if all the files that it wrote are there as they were written; else None.

    Raises:
        InputError: if the record is damaged, or that of another case.
    """
    path = folder / "cases" / f"{case}.json"
    if not path.is_file():
        return None
    record = read_case(folder, case)
    whole = all((folder / name).is_file() and sha256(folder / name) == told for name, told in record.files.items())
    return record if whole else None
