"""`imaseg attack`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer

from imaseg.auditing.attack_cases import AttackedCases, attack_cases
from imaseg.auditing.attack_record import MEAN, SAME, AttackRecord
from imaseg.auditing.attack_settings import AttackSettings
from imaseg.auditing.sharing import own_device, rank

_FOLDERS = ("images", "labels", "predictions", "clean_predictions", "cases")


def attack(
    model: str,
    data: Path,
    out: Path,
    settings: AttackSettings,
    *,
    cases: str | None,
    resume: bool,
    device: str,
    trust: bool,
) -> int:
    """Attack, print a row per case and where the files lie; 1 if some cases failed."""
    done = attack_cases(
        model,
        data,
        settings,
        out,
        select=cases,
        resume=resume,
        device=own_device(device),
        announce=lambda text: typer.echo(text, err=True),
        trust=trust,
    )
    if rank() > 0:
        return 0  # the first process speaks for all, and `torchrun` would end it for another's 1
    typer.echo(f"Mean foreground Dice under {settings.attack}, in the model's space and re-read from the written file")
    typer.echo(table(done.records))
    typer.echo(_verdict(done))
    for entry in done.failed:
        typer.echo(f"failed {entry['case']}: {entry['reason']}", err=True)
    for name in (*_FOLDERS, "attack.csv", "attack.json"):
        if (out / name).exists():
            typer.echo(f"Created {out / name}")
    return 1 if done.failed else 0


def table(records: Sequence[AttackRecord]) -> str:
    """Rows are cases."""
    unit = records[0].unit
    rows = [["case", "clean", "attacked", "re-read", f"size ({unit})", ""]]
    for record in records:
        dice = [f"{record.dice[MEAN][key]:.3f}" for key in ("clean", "attacked", "reread")]
        rows.append([record.case, *dice, f"{record.size:.4g}", record.note])
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    lines = []
    for name, *cells, note in rows:
        numbers = "  ".join(f"{cell:>{width}}" for cell, width in zip(cells, widths[1:], strict=True))
        lines.append(f"{name:<{widths[0]}}  {numbers}  {note}".rstrip())
    return "\n".join(lines)


def _verdict(done: AttackedCases) -> str:
    differ = sum(bool(record.note) for record in done.records)
    if not differ:
        return f"Every file holds what the attack found in the model's space: Dice within {SAME}."
    return (
        f"{differ} of {len(done.records)} files do not hold what the attack found in the model's space. "
        "Count the re-read Dice."
    )
