"""Fixtures that all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from filelock import FileLock

# Commands that tests start would otherwise use every core each, next to other workers of pytest: their threads wait for
# one another at every small operation.
os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder with the real data sets; skips where it is absent."""
    named = os.environ.get("IMASEG_TEST_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not (folder / "Task04_Hippocampus").is_dir():
        pytest.skip("real data sets are not here (set IMASEG_TEST_DATA to their folder)")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _threads() -> None:
    # Under xdist each worker would otherwise use every core, and other thread counts round differently.
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def raw_phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six small raw phantoms, four of them for training; read only."""
    from imaseg.data.phantom import write_phantom

    return write_phantom(tmp_path_factory.mktemp("phantom") / "raw", cases=6, shape=(24, 24, 16))


@pytest.fixture(scope="session")
def prepared_phantom(raw_phantom: Path) -> Path:
    """The same, prepared; read only."""
    from imaseg.data.preparation.prepare import prepare
    from imaseg.data.preparation.recipe import load_recipe

    out = raw_phantom.parent / "prepared"
    prepare(raw_phantom, out, load_recipe("msd"))
    return out


@pytest.fixture
def tiny_config(tmp_path: Path) -> Path:
    """A configuration that trains within a second or two."""
    path = tmp_path / "tiny.yaml"
    path.write_text(
        "network: {name: UNet, channels: [4, 8], strides: [2], num_res_units: 0, norm: batch, dropout: 0.1}\n"
        "patch: [24, 24, 16]\nbatch_size: 2\nepochs: 2\nlearning_rate: 0.01\n"
        "method: {name: standard}\n"
    )
    return path


IMA_METHOD = "method={name: ima, perturbation: {name: l2, eps: 0.2, unit: rms}, steps: 2, bisections: 2}"


@pytest.fixture(scope="session")
def tiny_run(prepared_phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model trained for a few epochs on the phantoms; read only."""
    from imaseg.runs import TrainConfig, train

    config = TrainConfig(
        network={"name": "UNet", "channels": [4, 8], "strides": [2], "num_res_units": 0, "norm": "batch"},
        patch=[24, 24, 16],
        epochs=15,
        learning_rate=0.02,
    )
    return train(config, prepared_phantom, tmp_path_factory.mktemp("runs") / "tiny")


EVERY_KIND = {
    "name": "tiny",
    "probes": [
        {"attack": "gaussian-noise", "perturbation": "l2", "unit": "std", "eps": [0.1, 0.5]},
        {"attack": "fgsm", "perturbation": "l2", "unit": "std", "eps": [0.1, 0.5]},
        {
            "attack": "pgd", "perturbation": "l2", "unit": "std", "eps": [0.1, 0.5], "steps": 3, "write": "nifti",
        },
        {"attack": "pgd", "perturbation": "gamma", "eps": [0.3], "steps": 2},
        {"kind": "margin", "perturbation": "l2", "unit": "std", "eps": 1.0, "steps": 3, "rtol": 0.3,
         "criterion": {"name": "dice-below", "threshold": 0.5, "relative": True}, "per_class": True, "confirm": True},
        {"kind": "margin", "perturbation": "bias-field", "eps": 0.2, "steps": 2, "rtol": 0.3,
         "criterion": {"name": "dice-below", "threshold": 0.5, "relative": True}},
        {"kind": "certificate", "sigma": 0.1, "unit": "std", "samples": 90, "cases": 1, "write": "nifti",
         "attack": 0.3, "groups": 1},
        {"kind": "voxel-margin", "perturbation": "l2", "unit": "rms", "eps": 0.6, "cases": 2, "rungs": 4, "focus": 1,
         "methods": ["attack", "gradient"], "write": "nifti"},
        {"kind": "corruption", "corruptions": ["gamma", "blur"], "severities": [1, 5]},
    ],
    "validity": {"cases": 1, "large_eps": 20, "scaled_eps": 0.5},
    "showcase": {"attack": "pgd", "eps": 0.5},
    "seed": 7,
}  # fmt: skip


@pytest.fixture(scope="session")
def real_audit(tiny_run, prepared_phantom, tmp_path_factory):
    """An audit folder with every kind of probe, made once for all workers of pytest; read only."""
    from imaseg.auditing import Plan, audit

    shared = tmp_path_factory.getbasetemp()
    shared = shared.parent if os.environ.get("PYTEST_XDIST_WORKER") else shared
    out = shared / "every-kind"
    with FileLock(shared / "every-kind.lock"):
        if not (out / "summary.json").is_file():
            audit(tiny_run, prepared_phantom, Plan.model_validate(EVERY_KIND), out, select="all")
    return out
