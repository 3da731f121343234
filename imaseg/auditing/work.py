"""The cases of an audit, one after the other, next to any other processes that work on the same folder."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import torch

from imaseg.auditing.case import CaseAudit, CaseRecord
from imaseg.auditing.corruption_case import add_corruptions
from imaseg.auditing.cost import CORRUPTIONS, Cost
from imaseg.auditing.memory import forget_peak, is_shortage, peak_mb, shortage
from imaseg.auditing.plan import Plan
from imaseg.auditing.results import read_case, write_case
from imaseg.auditing.sharing import Claims
from imaseg.auditing.source import CaseSource
from imaseg.data import Case, CaseSet
from imaseg.errors import InputError
from imaseg.models import SegmentationModel
from imaseg.progress import Tell, bar


class Work:
    """Does what nobody else has done or is doing.

    Args:
        model: held still, on its device.
        cases: of the audit.
        source: reads them.
        plan: what to do with each.
        folder: of the audit.
        parts: of the plan, with the calls each takes: what the bar counts.
    """

    def __init__(
        self,
        model: SegmentationModel,
        cases: CaseSet,
        source: CaseSource,
        plan: Plan,
        folder: Path,
        parts: Sequence[Cost],
    ) -> None:
        self.model, self.cases, self.source, self.plan = model, cases, source, plan
        self.folder, self.parts = folder / "cases", parts
        self.claims = Claims(folder)
        self.records: dict[str, CaseRecord] = {}
        self.failed: dict[str, str] = {}
        self._counted: list[int] = []

    def run(self, *, wait: bool) -> tuple[list[CaseRecord], list[dict[str, str]]]:
        """Until no case is left that is neither finished nor failed nor somebody else's.

        Args:
            wait: for those of others too; where one of them dies, its case is done here.

        Returns:
            Finished cases, and those that failed here, each with its reason; both in the order of the cases.
        """
        # What an earlier run finished would make this one look fast.
        self._counted = [place for place, case in enumerate(self.cases) if not self._known(case)]
        with bar(f"audit {self.model.card.name}", shown=wait) as tell:
            places = {case.id: (place, case) for place, case in enumerate(self.cases)}

            def settled(name: str) -> bool:
                done = name in self.failed or self._known(places[name][1])
                self._show(tell, 0, "")
                return done

            self.claims.share(places, settled, lambda name: self._try(*places[name], tell), wait=wait)
        ids = self.cases.ids
        failed = [{"case": name, "reason": self.failed[name]} for name in ids if name in self.failed]
        return [self.records[name] for name in ids if name in self.records], failed

    def _known(self, case: Case) -> bool:
        if case.id not in self.records and (record := read_case(self.folder, case.id)) is not None:
            self.records[case.id] = record
        return case.id in self.records

    def _try(self, place: int, case: Case, tell: Tell) -> None:
        """Do one case; what goes wrong with it stays with it."""
        self._show(tell, 0, case.id)
        shape, device = (), next(self.model.parameters()).device
        begin, done = time.perf_counter(), 0

        def part_done(name: str) -> None:
            nonlocal done
            done += sum(part.calls for part in self.parts if part.name == name)
            self._show(tell, done, f"{case.id}, {name} done")

        forget_peak(device)
        try:
            volume, scale = self.source.read(case)
            shape = volume.image.shape
            audit = CaseAudit(self.model, volume, self.plan, native_scale=scale)
            record, slices = audit.run(place, part_done)
            add_corruptions(record, self.model, self.source, case, self.plan)
            part_done(CORRUPTIONS)
            record.seconds, record.peak_memory_mb = round(time.perf_counter() - begin, 2), peak_mb(device)
            write_case(self.folder, record, slices, audit.voxels)
        except (InputError, RuntimeError, ValueError, MemoryError) as error:
            self.failed[case.id] = shortage(shape, device) if is_shortage(error) else str(error)
        else:
            self.records[case.id] = record
        if case.id in self.failed and device.type == "cuda":
            torch.cuda.empty_cache()

    def _show(self, tell: Tell, here: int, note: str) -> None:
        """Move the bar: calls of what is done, of all that there were to do."""
        calls = {self.cases.ids[place]: self._calls(place) for place in self._counted}
        done = sum(number for name, number in calls.items() if name in self.records or name in self.failed)
        settled = len(self.records) + len(self.failed)
        tell(done + here, sum(calls.values()), f"{settled} of {len(self.cases)} cases; {note}" if note else "")

    def _calls(self, place: int) -> int:
        return sum(part.calls for part in self.parts if part.first is None or place < part.first)
