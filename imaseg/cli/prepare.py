"""`imaseg prepare`."""

from __future__ import annotations

from pathlib import Path

import typer

from imaseg.data.prepare import prepare as run
from imaseg.data.recipe import load_recipe
from imaseg.progress import bar


def prepare(source: Path, out: Path, recipe: str) -> int:
    """Prepare a cohort and say what was set aside; 1 if any case was."""
    steps = load_recipe(recipe)
    with bar(f"prepare {source.name}") as tell:
        summary = run(source, out, steps, progress=tell)
    for case, reasons in summary.quarantined.items():
        typer.echo(f"quarantined {case}: {' '.join(reasons)}")
    for case, flags in summary.flagged.items():
        typer.echo(f"flagged {case}: {' '.join(flags)}")
    typer.echo(
        f"{len(summary.kept)} cases prepared, {len(summary.quarantined)} quarantined, {len(summary.flagged)} flagged."
    )
    typer.echo(f"Created {out / 'prepare.json'}")
    return 1 if summary.quarantined else 0
