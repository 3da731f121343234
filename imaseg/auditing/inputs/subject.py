"""Which model an audit is about, and on which cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from imaseg.auditing.inputs.fitting import fit
from imaseg.auditing.inputs.outputs import warnings_of
from imaseg.auditing.inputs.source import CaseSource, Loaded, choose
from imaseg.data import CaseSet, load_cases
from imaseg.errors import InputError
from imaseg.models import SegmentationModel, load_model
from imaseg.results.summary import DataFacts


@dataclass(frozen=True)
class Subject:
    """A model and the cases it is run on.

    Attributes:
        model: on its device.
        spec: what it was loaded from; empty if it came loaded.
        cases: that were chosen.
        selection: how.
        source: reads them for that model.
        notes: on how labels of the data and classes of the model were matched, and on doubts about the outputs.
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
        subject = cls(fitted.model, spec, chosen, selection, source, fitted.notes)
        foreign = fitted.model.ending.by != "framework"
        warnings = warnings_of(fitted.model, subject.first()) if foreign else []
        return replace(subject, notes=(*fitted.notes, *warnings))

    def data(self, finished: Sequence[str]) -> DataFacts:
        """Which cases were finished, by id, and which of them the model was trained on."""
        card = self.model.card
        seen = set(card.train_ids)
        return DataFacts(
            name=self.cases.name,
            cases=len(finished),
            selection=self.selection,
            seen_in_training=[case for case in finished if case in seen],
            training_known=bool(card.train_ids or card.val_ids),
            notes=list(self.notes),
            labels={str(value): label for value, label in card.structures.items()},
        )

    def first(self) -> Loaded | None:
        """The first case that can be read; None if there is none."""
        for case in self.cases:
            try:
                return self.source.load(case)
            except (InputError, MemoryError):  # that case is set aside later
                continue
        return None
