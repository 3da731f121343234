"""`attack_cases`: one attack on many cases, written as NIfTI files of the same grid, units and type as their source.

Each finished case is on disk, so that a killed run resumes. A Dice counts only once the file was read back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from imaseg.auditing.attack_case import CaseAttack
from imaseg.auditing.attack_record import AttackRecord
from imaseg.auditing.attack_results import summarise, write_table
from imaseg.auditing.attack_settings import AttackSettings
from imaseg.auditing.identity import claim
from imaseg.auditing.sharing import Claims, rank, shared, world
from imaseg.auditing.source import training_cases_among
from imaseg.auditing.subject import Subject
from imaseg.data import CaseSet
from imaseg.data.files import write_json
from imaseg.frozen import frozen
from imaseg.models import SegmentationModel
from imaseg.models.device import seconds_per_pass
from imaseg.progress import duration

_PASSES_BESIDES = 4
"""Forward passes of a case outside of the search's steps."""


@dataclass(frozen=True)
class AttackedCases:
    """Where the attacked cases lie, and what went wrong.

    Attributes:
        folder: holds `images/`, `predictions/`, `clean_predictions/`, `cases/`, `attack.csv`, `attack.json` and, for
            deformations, `labels/`.
        records: one per finished case.
        failed: cases that could not be attacked, each with its reason.
    """

    folder: Path
    records: list[AttackRecord]
    failed: list[dict[str, str]]


def attack_cases(
    model: str | Path | SegmentationModel,
    cases: str | Path | CaseSet,
    settings: AttackSettings,
    out: str | Path,
    *,
    select: str | Sequence[str] | None = None,
    resume: bool = False,
    device: str | torch.device | None = None,
    announce: Callable[[str], None] | None = None,
    trust: bool = False,
) -> AttackedCases:
    """Attack cases and write the adversarial images as NIfTI, in the grid, units and type of their source.

    Args:
        model: what `load_model` takes, or a loaded model.
        cases: what `load_cases` takes, or loaded cases; raw ones are prepared in memory by the model's own recipe.
        settings: the attack.
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
        InputError: if something does not fit, `out` holds something else, or no case could be attacked.
    """
    subject = Subject.of(model, cases, select=select, device=device, trust=trust)
    folder, started = Path(out), time.perf_counter()
    cost = _Cost(subject, settings)
    run = subject.describe(asdict(settings))
    claim(folder / "attack.json", run, what="an attack", resume=resume, follow=rank() > 0)
    with frozen(subject.model):
        if announce is not None and rank() == 0:
            _announce(announce, subject, cost, len(subject.cases) - subject.finished(folder, AttackRecord))
        attack = CaseAttack(subject.model, subject.source, settings, folder)
        records, failed = subject.run("attack", folder, AttackRecord, attack.run, done="attacked")
    if rank() > 0:
        return AttackedCases(folder, records, failed)
    run |= {"data": subject.data([record.case for record in records]), "summary": summarise(records), "failed": failed}
    with Claims(folder).summing_up():
        write_table(folder / "attack.csv", records)
        write_json(folder / "attack.json", run | {"seconds": round(time.perf_counter() - started, 1)})
    return AttackedCases(folder, records, failed)


class _Cost:
    """What a case costs, judged by the first one that can be read; building its attack shows wrong settings early."""

    def __init__(self, subject: Subject, settings: AttackSettings) -> None:
        self.model, self.first, self.passes = subject.model, subject.first(), 0
        if self.first is not None:
            attack = settings.build(self.first)
            self.passes = attack.steps * attack.restarts * attack.samples + _PASSES_BESIDES

    def seconds(self, cases: int) -> float:
        """Expected seconds for so many cases."""
        if self.first is None or not cases:
            return 0.0
        return cases * self.passes * seconds_per_pass(self.model, torch.from_numpy(self.first.volume.image)[None])


def _announce(announce: Callable[[str], None], subject: Subject, cost: _Cost, left: int) -> None:
    for note in subject.notes:
        announce(note)
    if warning := training_cases_among(subject.cases, subject.model.card):
        announce(warning)
    if subject.cases.prepared is not None:
        announce(f"{subject.cases.root} is prepared: images are written on its grid and in its intensities.")
    if seconds := cost.seconds(left):
        head = f"{left} of {len(subject.cases)} cases ({subject.selection})"
        announce(f"{head}: about {duration(seconds)}{shared(world())}.")
