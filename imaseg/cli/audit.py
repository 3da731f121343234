"""`imaseg audit`."""

from __future__ import annotations

from pathlib import Path

import typer

from imaseg.auditing import audit as run
from imaseg.auditing.corruption_results import degradation_line
from imaseg.auditing.table import ladder_table
from imaseg.models.device import pick_device


def audit(
    model: str, data: Path, out: Path, *, plan: str, cases: str | None, resume: bool, device: str, trust: bool
) -> int:
    """Audit, print the ladder and where the page lies; 1 if some cases failed."""
    result = run(
        model,
        data,
        plan,
        out,
        select=cases,
        resume=resume,
        device=pick_device(device),
        announce=lambda text: typer.echo(text, err=True),
        trust=trust,
    )
    typer.echo(ladder_table([result.summary]))
    if line := degradation_line(result.summary):
        typer.echo(line)
    for entry in result.failed:
        typer.echo(f"failed {entry['case']}: {entry['reason']}", err=True)
    for name in ("summary.json", "cases.csv", "report.html"):
        typer.echo(f"Created {out / name}")
    return 1 if result.failed else 0
