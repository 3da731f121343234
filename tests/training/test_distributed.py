"""Two processes under `torchrun`, over gloo: the same weights and the same margins on both."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from imaseg import MarginTable

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    out = tmp_path_factory.mktemp("ranks")
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [sys.executable, *command, "-m", "tests.training.distributed_worker", str(out)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [torch.load(out / f"rank{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("method", ["ima", "pgd", "free", "trades"])
def test_weights_are_the_same_on_both(ranks, method):
    first, second = (rank[method] for rank in ranks)
    # Statistics of BatchNorm are each rank's own until the first rank's are sent round at the next step.
    weights = [name for name in first if "running" not in name]
    assert all(torch.equal(first[name], second[name]) for name in weights)


def test_the_ranks_searched_for_a_different_time(ranks):
    assert ranks[0]["passes"] != ranks[1]["passes"]


def test_margins_are_the_same_on_both_and_those_of_one_process_that_made_all_visits(ranks):
    assert ranks[0]["table"] == ranks[1]["table"]
    alone = MarginTable(2.0, 8.0)
    for epoch in range(2):
        for rank in ranks:
            alone.record(*rank["visits"][epoch])
        alone.end_epoch()
    assert alone.margins == ranks[0]["table"]["margins"]
    assert alone.counts == ranks[0]["table"]["counts"]
    assert alone.counts["case 3"][0] == 4
    assert len(set(alone.margins.values())) > 2
