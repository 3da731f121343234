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
from imaseg.auditing.attack_results import read_record, summarise, write_table
from imaseg.auditing.attack_settings import AttackSettings
from imaseg.auditing.identity import claim, describe
from imaseg.auditing.source import CaseSource, choose
from imaseg.data import CaseSet, load_cases
from imaseg.data.files import write_json
from imaseg.errors import InputError
from imaseg.frozen import frozen
from imaseg.models import SegmentationModel, load_model
from imaseg.models.device import seconds_per_pass
from imaseg.progress import bar, duration

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
        announce: told, before the first case, how many cases there are and how long they will take.

    Returns:
        What was written.

    Raises:
        InputError: if something does not fit, `out` holds something else, or no case could be attacked.
    """
    network = model if isinstance(model, SegmentationModel) else load_model(model)
    network = network if device is None else network.to(device)
    cohort = cases if isinstance(cases, CaseSet) else load_cases(cases)
    chosen, selection = choose(cohort, network.card, select)
    source, folder, started = CaseSource(chosen, network.card), Path(out), time.perf_counter()
    cost = _Cost(chosen, source, settings)
    spec = str(model) if not isinstance(model, SegmentationModel) else ""
    run = describe(network, spec, chosen, asdict(settings), kind="settings")
    claim(folder / "attack.json", run, what="an attack", resume=resume)
    known = {case.id: record for case in chosen if (record := read_record(folder, case.id)) is not None}
    with frozen(network):
        if announce is not None:
            left = len(chosen) - len(known)
            _announce(announce, chosen, f"{left} of {len(chosen)} cases ({selection})", cost.seconds(network, left))
        records, failed = _run_cases(CaseAttack(network, source, settings, folder), chosen, known)
    if not records:
        msg = f"no case of {chosen.root} could be attacked. First reason: {failed[0]['reason']}"
        raise InputError(msg)
    seen = [record.case for record in records if record.case in set(network.card.train_ids)]
    run["data"] = {"name": chosen.name, "cases": len(records), "selection": selection, "seen_in_training": seen}
    run |= {"summary": summarise(records), "failed": failed, "seconds": round(time.perf_counter() - started, 1)}
    write_table(folder / "attack.csv", records)
    write_json(folder / "attack.json", run)
    return AttackedCases(folder, records, failed)


class _Cost:
    """What a case costs, judged by the first one that can be read; building its attack shows wrong settings early."""

    def __init__(self, cases: CaseSet, source: CaseSource, settings: AttackSettings) -> None:
        self.image, self.passes = None, 0
        for case in cases:
            try:
                loaded = source.load(case)
            except InputError:
                continue
            attack = settings.build(loaded)
            self.image = torch.from_numpy(loaded.volume.image)[None]
            self.passes = attack.steps * attack.restarts * attack.samples + _PASSES_BESIDES
            return

    def seconds(self, model: SegmentationModel, cases: int) -> float:
        """Expected seconds for so many cases."""
        return cases * self.passes * seconds_per_pass(model, self.image) if self.image is not None and cases else 0.0


def _announce(announce: Callable[[str], None], cases: CaseSet, what: str, seconds: float) -> None:
    if cases.prepared is not None:
        announce(f"{cases.root} is prepared: images are written on its grid and in its intensities.")
    if seconds:
        announce(f"{what}: about {duration(seconds)}.")


def _run_cases(
    attack: CaseAttack, cases: CaseSet, known: dict[str, AttackRecord]
) -> tuple[list[AttackRecord], list[dict[str, str]]]:
    records, failed = [], []
    with bar(f"attack {attack.model.card.name}") as tell:
        for done, case in enumerate(cases):
            tell(done, len(cases), case.id)
            try:
                records.append(known[case.id] if case.id in known else attack.run(case))
            except (InputError, RuntimeError, ValueError) as error:
                failed.append({"case": case.id, "reason": str(error)})
        tell(len(cases), len(cases), "")
    return records, failed
