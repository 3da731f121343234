"""Which model a run is about, on which cases, and the cases one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from imaseg.auditing.fitting import fit
from imaseg.auditing.identity import describe
from imaseg.auditing.sharing import Claims, rank
from imaseg.auditing.source import CaseSource, Loaded, choose
from imaseg.data import Case, CaseSet, load_cases
from imaseg.data.files import read_json
from imaseg.errors import InputError
from imaseg.models import SegmentationModel, load_model
from imaseg.progress import bar

Failed = list[dict[str, str]]


class Record(Protocol):
    """What a finished case leaves in `cases/<id>.json`: its id and the files it wrote, by name."""

    case: str
    files: dict[str, str]


_R = TypeVar("_R", bound=Record)


@dataclass(frozen=True)
class Subject:
    """A model and the cases it is run on.

    Attributes:
        model: on its device.
        spec: what it was loaded from; empty if it came loaded.
        cases: that were chosen.
        selection: how.
        source: reads them for that model.
        notes: on how labels of the data and classes of the model were matched.
    """

    model: SegmentationModel
    spec: str
    cases: CaseSet
    selection: str
    source: CaseSource
    notes: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        model: str | Path | SegmentationModel,
        cases: str | Path | CaseSet,
        *,
        select: str | Sequence[str] | None,
        device: str | torch.device | None,
        trust: bool = False,
    ) -> Subject:
        """Load what has to be loaded.

        Args:
            model: what `load_model` takes, or a loaded model.
            cases: what `load_cases` takes, or loaded cases.
            select: which cases: None for those held out of training, "all", the name of a split, or ids.
            device: where the model runs; None leaves it where it is.
            trust: as in `load_model`.

        Raises:
            InputError: if something cannot be loaded or does not fit.
        """
        network = model if isinstance(model, SegmentationModel) else load_model(model, trust=trust)
        network = network if device is None else network.to(device)
        cohort = cases if isinstance(cases, CaseSet) else load_cases(cases)
        chosen, selection = choose(cohort, network.card, select)
        spec = "" if isinstance(model, SegmentationModel) else str(model)
        fitted = fit(network, chosen)
        source = CaseSource(chosen, fitted.model.card, fitted.model.prepare)
        return cls(fitted.model, spec, chosen, selection, source, fitted.notes)

    def describe(self, settings: dict[str, Any]) -> dict[str, Any]:
        """What is known before the first case, as `imaseg.auditing.identity.describe`."""
        return describe(self.model, self.spec, self.cases, settings, kind="settings")

    def data(self, finished: Sequence[str]) -> dict[str, Any]:
        """Which cases were finished, by id, and which of them the model was trained on."""
        seen = [case for case in finished if case in set(self.model.card.train_ids)]
        return {
            "name": self.cases.name,
            "cases": len(finished),
            "selection": self.selection,
            "seen_in_training": seen,
            "notes": list(self.notes),
            "labels": {str(value): label for value, label in self.model.card.labels.items() if value > 0},
        }

    def first(self) -> Loaded | None:
        """The first case that can be read; None if there is none."""
        for case in self.cases:
            try:
                return self.source.load(case)
            except InputError:
                continue
        return None

    def finished(self, folder: Path, kind: type[Record]) -> int:
        """How many of the cases have their records and all files below `folder`."""
        return sum(_record(folder, case.id, kind) is not None for case in self.cases)

    def run(
        self, title: str, folder: Path, kind: type[_R], work: Callable[[Case], _R], *, done: str
    ) -> tuple[list[_R], Failed]:
        """Work on every case that is not in `folder` yet, under a bar, next to any other processes that do.

        Args:
            title: of the bar.
            folder: where the records lie.
            kind: of the records.
            work: from a case to its record.
            done: past participle for the message.

        Returns:
            The records, and the cases that failed here, each with its reason. The process of rank 0 waits for those
            of all others.

        Raises:
            InputError: if there, in the end, all have failed.
        """
        cases = {case.id: case for case in self.cases}
        records: dict[str, _R] = {}
        failed: dict[str, str] = {}
        claims, first = Claims(folder), rank() == 0
        with bar(f"{title} {self.model.card.name}", shown=first) as tell:

            def settled(name: str) -> bool:
                if name not in records and (record := _record(folder, name, kind)) is not None:
                    records[name] = record
                tell(len(records) + len(failed), len(cases), name)
                return name in records or name in failed

            def attempt(name: str) -> None:
                try:
                    records[name] = work(cases[name])
                except (InputError, RuntimeError, ValueError) as error:
                    failed[name] = str(error)

            claims.share(cases, settled, attempt, wait=first)
            tell(len(cases), len(cases), "")
        if first and not records:
            msg = f"no case of {self.cases.root} could be {done}. First reason: {next(iter(failed.values()))}"
            raise InputError(msg)
        reasons = [{"case": name, "reason": failed[name]} for name in cases if name in failed]
        return [records[name] for name in cases if name in records], reasons


def _record(folder: Path, case: str, kind: type[_R]) -> _R | None:
    """What a case left, if all of its files are there."""
    path = folder / "cases" / f"{case}.json"
    if not path.is_file():
        return None
    record = kind(**read_json(path))
    return record if all((folder / name).is_file() for name in record.files) else None


def tensors(model: SegmentationModel, loaded: Loaded) -> tuple[Tensor, Tensor]:
    """Image (1, C, X, Y, Z) and label (1, X, Y, Z) of a case on the model's device."""
    device = next(model.parameters()).device
    image, label = (torch.from_numpy(array)[None] for array in (loaded.volume.image, loaded.label))
    return image.to(device), label.to(device)
