"""Which model an audit is about, and on which cases."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

import torch

from imaseg.auditing.inputs.attacker import Attacker
from imaseg.auditing.inputs.described import describe_preparation
from imaseg.auditing.inputs.fitting import fit
from imaseg.auditing.inputs.outputs import warnings_of
from imaseg.auditing.inputs.own import agreement
from imaseg.auditing.inputs.randomness import random_note, redecided
from imaseg.auditing.inputs.reference import against_prediction, with_names, without_lost_labels
from imaseg.auditing.inputs.source import CaseSource, Loaded, choose, held_out_missing, reason_for
from imaseg.data import CaseSet, load_cases
from imaseg.data.groups import Grouped, read_groups
from imaseg.data.layouts.accounting import reasons_counted
from imaseg.models import SegmentationModel, load_model
from imaseg.models.precision import Chosen
from imaseg.results.preparation import Agreement, Preparation
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
        because: why these cases were chosen.
        held_out_missing: whether none of the cases that the model held out is among the data.
        random: whether two passes over the first case differ.
        attacker: another model, on which transferred attacks are made; None without.
        reference: what cases are judged by.
        grouped: group of each case by column; empty without a table of the cases.
        precision: that searches take their gradients in, and why.
    """

    model: SegmentationModel
    spec: str
    cases: CaseSet
    selection: str
    source: CaseSource
    notes: tuple[str, ...] = ()
    because: str = ""
    held_out_missing: bool = False
    random: bool = False
    attacker: Attacker | None = None
    reference: Literal["label", "prediction"] = "label"
    grouped: Grouped = field(default_factory=dict)
    precision: Chosen = field(default_factory=Chosen)

    @classmethod
    def of(
        cls,
        model: str | Path | SegmentationModel,
        cases: str | Path | CaseSet,
        *,
        select: str | Sequence[str] | None,
        device: str | torch.device | None,
        trust: bool = False,
        attacker: str | Path | SegmentationModel | None = None,
        reference: Literal["label", "prediction"] = "label",
        groups: str | Path | None = None,
    ) -> Subject:
        """Load what has to be loaded.

        Args:
            model: what `load_model` takes, or a loaded model.
            cases: what `load_cases` takes, or loaded cases.
            select: which cases, as in `choose`: None for those held out of training.
            device: where the model runs; None leaves it where it is.
            trust: as in `load_model`.
            attacker: as `model`, one that transferred attacks are made on.
            reference: what cases are judged by: their labels, or the model's own prediction of the unchanged image.
            groups: CSV file by whose columns results are grouped.

        Raises:
            InputError: if something cannot be loaded or does not fit.
        """
        network = model if isinstance(model, SegmentationModel) else load_model(model, trust=trust)
        network = network if device is None else network.to(device)
        # A case that misses a file fails alone and stands in the report.
        cohort = cases if isinstance(cases, CaseSet) else load_cases(cases, missing_ok=True)
        chosen, selection = choose(cohort, network.card, select)
        spec = "" if isinstance(model, SegmentationModel) else str(model)
        own = reference == "prediction"
        found, lost = without_lost_labels(chosen) if own else (chosen, [])
        chosen = with_names(found, network.card) if own else chosen
        fitted = fit(network, chosen)
        source = CaseSource(chosen, fitted.model.card, fitted.model.prepare, _unchanged if own else None)
        left = (f"Files read for no case: {reasons_counted(_short(cohort))}.",) if cohort.ignored else ()
        first = next(source.readable(), None)
        warnings = warnings_of(fitted.model, first) if fitted.model.ending.by != "framework" else []
        share = _redecided(fitted.model, first)
        if own:
            source.reference = partial(against_prediction, fitted.model, random=share is not None)
        randomness = [note] if (note := random_note(share)) else []
        subject = cls(
            fitted.model,
            spec,
            chosen,
            selection,
            source,
            (*fitted.notes, *warnings, *left, *lost, *randomness),
            because=reason_for(cohort, network.card, selection),
            held_out_missing=held_out_missing(cohort, network.card),
            random=share is not None,
            attacker=None
            if attacker is None
            else Attacker.of(attacker, chosen, fitted.model, device=device, trust=trust),
            reference=reference,
            grouped={} if groups is None else read_groups(Path(groups), chosen.ids),
        )
        vars(subject)["first"] = first  # it has just been read
        return subject

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
            selected_because=self.because,
            held_out_missing=self.held_out_missing,
            reference=self.reference,
        )

    @cached_property
    def first(self) -> Loaded | None:
        """The first case that can be read; None if there is none."""
        return next(self.source.readable(), None)

    def led_in(self, precision: Chosen) -> Subject:
        """The same with gradients of searches in that precision."""
        other = replace(self, precision=precision)
        vars(other)["first"] = self.first
        return other

    def forget_first(self) -> None:
        """Let go of the memory that the first case takes."""
        vars(self).pop("first", None)

    def preparation(self) -> Preparation:
        """How the cases reach the model, with the figures of the first one."""
        return describe_preparation(self.model, self.source, self.cases, self.first)

    def agreement(self) -> Agreement:
        """Of the model's prediction of the first case with that of its own software."""
        if self.first is None:
            return Agreement(reason="no case could be read.")
        case = self.cases[self.cases.ids.index(self.first.volume.id)]
        return agreement(self.model, case, self.first, prepared=self.cases.prepared is not None)


def _redecided(model: SegmentationModel, first: Loaded | None) -> float | None:
    """How random a model is on the first case; None also where a pass fails, which the cases will report."""
    if first is None:
        return None
    image = torch.from_numpy(first.volume.image)[None].to(next(model.parameters()).device)
    with contextlib.suppress(Exception):
        return redecided(model, image)
    return None


def _unchanged(loaded: Loaded) -> Loaded:
    """As read, until it is known how random the model is."""
    return loaded


def _short(cohort: CaseSet) -> dict[str, str]:
    """Reasons by file, which is named by its folder and name."""
    return {f"{path.parent.name}/{path.name}": reason for path, reason in cohort.ignored.items()}
