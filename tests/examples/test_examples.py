"""The example scripts run on the phantom as they stand."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PATCH = ("--patch", "24", "24", "16")
TWO_RANKS = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def _run(*arguments):
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_plain_monai_loop_trains(prepared_phantom):
    lines = _run("examples/monai_loop.py", prepared_phantom, "--epochs", "2", *PATCH).splitlines()
    assert [line.partition(":")[0] for line in lines] == ["epoch 1", "epoch 2"]


def test_only_the_marked_lines_of_the_plain_loop_know_of_ima():
    lines = (ROOT / "examples/monai_loop.py").read_text().partition('"""\n\nfrom')[2].splitlines()
    changed = [line for line in lines if "ima." in line or "ima(" in line or "IMA" in line or "imaseg" in line]
    assert [line for line in changed if "print" not in line] == [line for line in lines if "of 4" in line]
    assert len([line for line in lines if "of 4" in line]) == 4


@pytest.mark.slow
def test_the_monai_trainer_goes_on_after_a_stop(prepared_phantom, tmp_path):
    for epochs in (1, 2):
        _run("examples/monai_trainer.py", prepared_phantom, tmp_path, *PATCH, "--epochs", epochs, "--amp")
    assert _trajectories(tmp_path) == {(str(e), f"phantom_00{i}", str(e)) for e in (1, 2) for i in range(1, 5)}


@pytest.mark.slow
def test_the_monai_trainer_runs_on_two_ranks(prepared_phantom, tmp_path):
    options = ("--epochs", 2, "--accumulate", 2)
    _run(*TWO_RANKS, "examples/monai_trainer.py", prepared_phantom, tmp_path, *PATCH, *options)
    assert _trajectories(tmp_path) == {(str(e), f"phantom_00{i}", str(e)) for e in (1, 2) for i in range(1, 5)}
    assert [path.name for path in tmp_path.glob("*.pt")] == ["checkpoint_epoch=2.pt"]


def _trajectories(folder):
    """Epoch, case and visits so far."""
    with (folder / "margins.csv").open() as file:
        return {(row["epoch"], row["case"], row["visits"]) for row in csv.DictReader(file)}


@pytest.mark.slow
def test_smp_trains_on_slices(prepared_phantom):
    lines = _run("examples/smp_slices.py", prepared_phantom, "--epochs", "2", "--every", "4").splitlines()
    losses = [float(line.split("loss ")[1].split(",")[0]) for line in lines[:-1]]
    assert len(losses) == 2
    assert losses[1] < losses[0]
    assert lines[-1].split(" ")[1:3] == ["held-out", "slices:"]
