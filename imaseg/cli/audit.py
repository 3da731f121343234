"""`imaseg audit`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer

from imaseg.auditing import audit as run
from imaseg.auditing import load_plan
from imaseg.auditing.corruption_results import degradation_line
from imaseg.auditing.gate import parse_gates
from imaseg.auditing.sharing import own_device, rank
from imaseg.auditing.table import ladder_table


def audit(
    model: str,
    data: Path,
    out: Path,
    *,
    plan: str,
    cases: str | None,
    resume: bool,
    device: str,
    trust: bool,
    fail_below: Sequence[str] = (),
) -> int:
    """Audit, print the ladder and where the page lies; 1 if some cases failed or a gate did."""
    settings = load_plan(plan)
    gates = parse_gates(fail_below, settings)
    result = run(
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
    typer.echo(ladder_table([result.summary]))
    if line := degradation_line(result.summary):
        typer.echo(line)
    for entry in result.failed:
        typer.echo(f"failed {entry['case']}: {entry['reason']}", err=True)
    for check in result.summary["validity"]:
        if check["ok"] is False:
            typer.echo(f"not valid: {check['check']}: {check['number']} ({check['detail']})", err=True)
    passed = True
    for gate in gates:
        passes, line = gate.judge(result.summary)
        passed &= passes
        typer.echo(line, err=not passes)
    for name in ("summary.json", "cases.csv", "report.html"):
        typer.echo(f"Created {out / name}")
    return 1 if result.failed or not passed else 0
