"""The main job on a phantom cohort: prepare, train a standard and an IMA model, audit both, one page."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from imaseg import progress
from imaseg.auditing import AuditResult, audit
from imaseg.auditing.table import ladder_table
from imaseg.data.files import told_if_unwritable
from imaseg.data.phantom import write_phantom
from imaseg.data.preparation.prepare import prepare
from imaseg.data.preparation.recipe import load_recipe
from imaseg.data.resources import resource
from imaseg.models.device import pick_device
from imaseg.report import write_report
from imaseg.runs import load_config, train

_CASES = 30


def demo(out: Path) -> Path:
    """Run the main job end to end, without downloads.

    Args:
        out: folder for everything it makes; a second run goes on where the first was stopped.

    Returns:
        The page.
    """
    raw, prepared = out / "raw", out / "prepared"
    if not (raw / "dataset.json").is_file():
        part = out / ".raw"
        shutil.rmtree(part, ignore_errors=True)
        write_phantom(part, cases=_CASES)
        with told_if_unwritable(raw):
            part.replace(raw)  # in one go: a phantom that is there is whole
    with progress.bar("prepare phantom") as tell:
        prepare(raw, prepared, load_recipe("msd"), progress=tell)
    standard, ima = out / "standard", out / "ima"
    _train("demo_standard", prepared, standard)
    _train("demo_ima", prepared, ima, f"init={standard}")
    audits = [_audit(run, prepared, out / f"audit-{run.name}") for run in (standard, ima)]
    page = write_report([result.folder for result in audits], out / "report.html")
    print(ladder_table([result.audit.summary for result in audits]))
    print(f"Created {page}")
    return page


def _train(config: str, data: Path, run: Path, *overrides: str) -> None:
    _say(f"\nTrain {run.name} ({config}.yaml)")
    train(load_config(resource(f"configs/{config}.yaml"), overrides), data, run, resume=True, announce=_say)


def _audit(run: Path, data: Path, out: Path) -> AuditResult:
    _say(f"\nAudit {run.name}")
    return audit(run, data, "demo", out, resume=True, device=pick_device("auto"), announce=_say)


def _say(text: str) -> None:
    if not progress.QUIET:
        print(text, file=sys.stderr, flush=True)
