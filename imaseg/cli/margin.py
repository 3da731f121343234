"""`imaseg margin`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from imaseg.auditing.margin_cases import margin_cases
from imaseg.auditing.margin_settings import MarginSettings
from imaseg.auditing.sharing import own_device, rank

_MADE = ("voxel_margins", "certified", "cases", "margins.csv", "voxel_margins.csv", "margins.json", "margins.html")


def margin(
    model: str,
    data: Path,
    out: Path,
    settings: MarginSettings,
    *,
    cases: str | None,
    resume: bool,
    device: str,
    trust: bool,
) -> int:
    """Measure, print a row per set and structure and where the files lie; 1 if some cases failed."""
    done = margin_cases(
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
    typer.echo(
        f"Smallest change found that breaks a case ({done.content['criterion']}), over {len(done.records)} cases"
    )
    typer.echo(table(done.content["summary"]))
    for entry in done.failed:
        typer.echo(f"failed {entry['case']}: {entry['reason']}", err=True)
    for name in _MADE:
        if (out / name).exists():
            typer.echo(f"Created {out / name}")
    return 1 if done.failed else 0


def table(summary: Sequence[dict[str, Any]]) -> str:
    """Rows are sets and structures; a median that rests on cases nothing broke is a lower bound."""
    rows = [["set", "structure", "median", "unit", "quartiles", "unbroken", "failed clean", "held"]]
    for entry in summary:
        low, middle, high = (_quantile(entry, name) for name in ("q25", "median", "q75"))
        counts = [f"{entry['censored']} of {entry['n']}", f"{entry['clean_failures']}"]
        held = f"{entry['held']} of {entry['tested']}"
        rows.append(
            [entry["perturbation"], entry["structure"], middle, entry["unit"], f"{low} to {high}", *counts, held]
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _quantile(entry: dict[str, Any], name: str) -> str:
    value = entry[name]
    return "-" if value is None else f"{'>=' if entry[f'{name}_at_least'] else ''}{value:.3g}"
