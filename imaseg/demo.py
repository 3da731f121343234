"""The main job on a phantom cohort: prepare, train a standard and an IMA model, audit both, one page."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from imaseg import progress
from imaseg.auditing import AuditResult, audit
from imaseg.auditing.table import ladder_table, strongest
from imaseg.data.files import told_if_unwritable
from imaseg.data.phantom import write_phantom
from imaseg.data.preparation.prepare import prepare
from imaseg.data.preparation.recipe import load_recipe
from imaseg.data.resources import resource
from imaseg.models.device import pick_device
from imaseg.report import write_report
from imaseg.results import Summary
from imaseg.runs import load_config, train

_CASES = 30
_RMS = "root mean squares of the change per voxel, in standard deviations of the image"
_EPOCHS = (
    "Each epoch is a line: the loss; clean Dice of monitored cases, which are kept out of training to watch it; and of "
    "ima the mean margin, how far an image can be changed before it breaks (rms, per voxel)."
)


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
    _say(f"\n{_EPOCHS}")
    _train("demo_standard", prepared, standard)
    _train("demo_ima", prepared, ima, f"init={standard}")
    audits = [_audit(run, prepared, out / f"audit-{run.name}") for run in (standard, ima)]
    page = write_report([result.folder for result in audits], out / "report.html")
    print(ladder_table([result.audit.summary for result in audits]))
    print(closing(*(result.audit.summary for result in audits)))
    print(f"Created {page}")
    return page


def closing(standard: Summary, robust: Summary) -> str:
    """What the table shows, in words: the price on unchanged images, and the largest gain under attack."""
    tables = [strongest(summary) for summary in (standard, robust)]
    key = max((one for one in tables[0] if one[1] == "rms"), key=lambda one: tables[1][one] - tables[0][one])
    before, after = (table[key] for table in tables)
    clean = [summary.dice or 0.0 for summary in (standard, robust)]
    price = ", the price of robust training" if clean[1] < clean[0] else ""
    return (
        f"What you see: budgets are {_RMS}. Clean Dice is {clean[0]:.2f} of standard and {clean[1]:.2f} of ima{price}. "
        f"Under attack ima gains: at {key[2]:g} {key[1]}, where the two are furthest apart, standard keeps "
        f"{before:.2f} and ima {after:.2f}. The page shows the cases. Synthetic data and short trainings: the figures "
        "say nothing about patients. For a model and images of your own: imaseg doctor MODEL --data FOLDER, then "
        "imaseg audit MODEL FOLDER --out audit --plan quick."
    )


def _train(config: str, data: Path, run: Path, *overrides: str) -> None:
    _say(f"\nTrain {run.name} ({config}.yaml)")
    train(load_config(resource(f"configs/{config}.yaml"), overrides), data, run, resume=True, announce=_say)


def _audit(run: Path, data: Path, out: Path) -> AuditResult:
    _say(f"\nAudit {run.name}")
    return audit(run, data, "demo", out, resume=True, device=pick_device("auto"), announce=_say)


def _say(text: str) -> None:
    if not progress.QUIET:
        print(text, file=sys.stderr, flush=True)
