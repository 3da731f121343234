"""`imaseg train` under `torchrun`: two processes give what one with twice the batch gives."""

from __future__ import annotations

import csv
import json
import subprocess
import sys

import pytest
import torch

from imaseg import InputError, load_cases, load_model
from imaseg.data.reading import read_volume
from imaseg.ranks import joined
from imaseg.runs import load_config, train
from imaseg.runs.batches import EpochSampler
from tests.conftest import IMA_METHOD

METHOD = IMA_METHOD.replace("{name: ima,", "{name: ima, warm: true,")
SETTINGS = ["augment=false", "monitor=0", "device=cpu", METHOD]
CONFIG = """
network: {name: UNet, channels: [4, 8], strides: [2], num_res_units: 0, norm: instance}
patch: [24, 24, 16]
epochs: 2
learning_rate: 0.01
"""


@pytest.fixture(scope="module")
def runs(prepared_phantom, tmp_path_factory):
    """One process with batches of two, and two with batches of one."""
    out = tmp_path_factory.mktemp("runs")
    (config := out / "config.yaml").write_text(CONFIG)
    alone = train(load_config(config, [*SETTINGS, "batch_size=2"]), prepared_phantom, out / "alone")
    torchrun = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "imaseg", "train"]
    command = [*torchrun, str(config), "--data", str(prepared_phantom), "--out", str(out / "both")]
    done = subprocess.run(
        [sys.executable, "-m", *command, *SETTINGS, "batch_size=1"],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("about") == 1, "one process speaks"
    return alone, out / "both"


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(runs, prepared_phantom):
    # Logits, not weights: those that a norm layer cancels wander, since Adam blows up gradients that are rounding only.
    case = next(iter(load_cases(prepared_phantom)))
    image = torch.from_numpy(read_volume(case).image)[None]
    with torch.no_grad():
        alone, both = (load_model(run)(image) for run in runs)
    torch.testing.assert_close(both, alone, rtol=0, atol=1e-3 * float(alone.std()))


@pytest.mark.slow
def test_margins_of_all_cases_meet(runs):
    alone, both = (
        {row["case"]: float(row["margin"]) for row in csv.DictReader((run / "margins.csv").open())} for run in runs
    )
    assert both == pytest.approx(alone, rel=0.05)
    assert len(both) > 2


@pytest.mark.parametrize(("length", "ranks"), [(6, 2), (7, 2), (7, 3), (2, 3)])
def test_every_case_is_seen_and_all_processes_see_equally_many(length, ranks):
    shares = [list(EpochSampler(length, seed=0, rank=rank, ranks=ranks)) for rank in range(ranks)]
    assert {len(share) for share in shares} == {-(-length // ranks)}
    assert {index for share in shares for _, index in share} == set(range(length))
    single = list(EpochSampler(length, seed=0))
    assert [key for together in zip(*shares, strict=True) for key in together][:length] == single


def test_one_gpu_for_several_processes_is_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="device must be auto"), joined("cuda:0"):
        pass


@pytest.mark.slow
def test_all_processes_end_when_the_first_is_out_of_patience(prepared_phantom, tmp_path):
    (config := tmp_path / "config.yaml").write_text(CONFIG)
    torchrun = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "imaseg", "train"]
    command = [*torchrun, str(config), "--data", str(prepared_phantom), "--out", str(tmp_path / "run")]
    # Weights that hardly move decide as they did: no epoch is better than the first.
    settings = ["epochs=9", "patience=2", "monitor=0.3", "device=cpu", "learning_rate=1e-12", "batch_size=1"]
    done = subprocess.run(
        [sys.executable, "-m", *command, *settings],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("Training ends after epoch 3 of 9") == 1
    assert json.loads((tmp_path / "run" / "outcome.json").read_text())["ended_early"]
