"""`imaseg audit`, `imaseg attack` and `imaseg margin`: run a plan and print the results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from imaseg.auditing import AuditResult, Plan
from imaseg.auditing import audit as run
from imaseg.auditing.engine.run import rehearse
from imaseg.auditing.metrics.degradation import degradation_line
from imaseg.auditing.probes.written import SAME_DICE
from imaseg.auditing.table import group_line, ladder_table, margin_table, written_table
from imaseg.auditing.validity.gate import Gate
from imaseg.cli.wrapped import note, say
from imaseg.data import load_cases
from imaseg.errors import printable
from imaseg.progress import counted
from imaseg.ranks import own_device
from imaseg.results import Audit
from imaseg.results.attack import AttackRow
from imaseg.results.unsized import in_pixels

_MADE = (
    "images", "labels", "predictions", "clean_predictions", "voxel_margins", "certified", "universal", "cases",
    "summary.json", "cases.csv", "margins.csv", "voxel_margins.csv", "report.html",
)  # fmt: skip


_ALWAYS = ("run.json", "cases/", "summary.json", "cases.csv", "report.html")


def audit(
    model: str,
    data: Path,
    out: Path,
    plan: Plan,
    *,
    cases: str | None,
    resume: bool,
    device: str,
    trust: bool,
    follow_links: bool = False,
    attacker: str | None = None,
    groups: Path | None = None,
    gates: Sequence[Gate] = (),
    judged: bool = False,
    allow_invalid: bool = False,
    dry_run: bool = False,
    budget: float | None = None,
    precision: str,
) -> int:
    """Run an audit, print tables and the paths of its files.

    Returns:
        Exit code: if `judged`, 3 where a check says that the numbers are no evidence, unless `allow_invalid`, which has
        gates judged by them all the same; else 1 if a case or a gate failed; else 0.
    """
    how: dict[str, Any] = {"select": cases, "resume": resume, "device": own_device(device), "trust": trust}
    how |= {"attacker": attacker, "groups": groups, "gates": gates, "budget": budget}
    how["precision"] = precision
    subjects = load_cases(data, missing_ok=True, follow_links=True) if follow_links else data
    if dry_run:
        rehearse(model, subjects, plan, out, announce=say, **how)
        say(f"Nothing was run. It would write to {out}: {', '.join(_ALWAYS)}, and what the plan asks for.")
        return 0
    result = run(model, subjects, plan, out, announce=note, **how)
    if not result.finished:
        return 0  # only the first process reports: with exit code 1 from another one `torchrun` would kill it
    for text in _tables(result.audit):
        typer.echo(printable(text))
    passed = _verdicts(result, gates, allow_invalid=allow_invalid or not judged)
    for name in _MADE:
        if (out / name).exists():
            typer.echo(f"Created {out / name}")
    if judged and not result.audit.summary.valid and not allow_invalid:
        say("NOT VALID: a red check says that these numbers are no evidence (exit code 3).", err=True)
        return 3
    return 1 if result.failed or not passed else 0


def _tables(audit: Audit) -> list[str]:
    """Tables of what the audit holds: written files, Dice at each budget, margins, degradation."""
    summary, tables = audit.summary.in_hu(), []
    if summary.stability is not None:
        tables.append("No labels were used: Dice is agreement with the model's prediction of the unchanged image.")
    written = [row.written for record in audit.cases for row in record.rows_of(AttackRow) if row.written is not None]
    if written:
        unit, differ = next(one.unit for one in summary.probes if one.written), sum(bool(file.note) for file in written)
        held = f"Every file holds what the attack found in the model's space: Dice within {SAME_DICE}."
        lost = f"{differ} of {len(written)} files do not hold what the attack found in the model's space."
        tables.append("Mean foreground Dice in the model's space and re-read from the written file")
        tables += [written_table(audit.cases, unit), f"{lost} Count the re-read Dice." if differ else held]
    elif summary.probes:
        tables.append(ladder_table([summary]))
    if summary.margins:
        criteria = " or ".join(dict.fromkeys(entry.criterion for entry in summary.margins if entry.structure is None))
        criteria = criteria if summary.preparation.sized else in_pixels(criteria)
        over = counted(summary.data.cases, "case")
        tables.append(f"Smallest change found that breaks a case ({criteria}), over {over}")
        tables.append(margin_table(summary.margins))
    bare = max([*(e.unrestricted for e in summary.probes), *(e.unrestricted for e in summary.margins)], default=0)
    if bare:
        tables.append(f"{counted(bare, 'case')} without a labelled structure: there the whole image could change.")
    line = degradation_line(summary.degradation)
    labelled = summary.data.reference != "prediction"
    groups = [group_line(one, labelled=labelled) for one in summary.groups]
    return [*tables, *([line] if line else []), *groups]


def _verdicts(result: AuditResult, gates: Sequence[Gate], *, allow_invalid: bool) -> bool:
    """Print failed cases, checks and gates; returns whether every gate passed."""
    for entry in result.failed:
        say(f"failed {entry.case}: {entry.reason}", err=True)
    summary = result.audit.summary
    checks, judged = summary.validity, [gate.judge(summary, allow_invalid=allow_invalid) for gate in gates]
    for check in checks:
        if check.ok is False:
            say(f"not valid: {check.said}: {check.number} ({check.detail})", err=True)
    if gates and allow_invalid and not summary.valid:
        say("The audit calls itself invalid: gates are judged by its numbers, as --allow-invalid asks.", err=True)
    if result.audit.run.plan["validity"] is not None:
        silent = sum(check.ok is None for check in checks)
        why = f", {silent} not run (report.html says why)" if silent else ""
        typer.echo(
            f"Validity: {sum(check.ok is True for check in checks)} of {len(checks)} checks passed{printable(why)}."
        )
    for passes, line in judged:
        typer.echo(printable(line), err=not passes)
    return all(passes for passes, _ in judged)
