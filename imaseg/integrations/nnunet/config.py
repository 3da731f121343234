"""Settings of a robust nnU-Net training: the YAML file that `IMASEG_CONFIG` names; every key is checked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from imaseg.data.yaml_file import read_yaml
from imaseg.validated import validated

VARIABLE = "IMASEG_CONFIG"
PERTURBATION: dict[str, Any] = {"name": "l2", "eps": 0.1, "unit": "rms"}
"""Default perturbation set: a tenth of a standard deviation per voxel (RMS)."""


class RobustBest(BaseModel):
    """How the checkpoint `checkpoint_robust_best.pth` is chosen.

    Attributes:
        batches: validation batches per epoch that are attacked; 0 for no such checkpoint.
        steps: number of PGD steps.
        perturbation: set and budget; those of the training method if not given.
    """

    model_config = ConfigDict(extra="forbid")

    batches: int = Field(4, ge=0)
    steps: int = Field(10, ge=1)
    perturbation: dict[str, Any] | None = None


class RobustConfig(BaseModel):
    """Settings of a run; unknown keys are refused, and None keeps nnU-Net's own setting.

    Attributes:
        method: arguments of the trainer's method: perturbation, steps, criterion ...
        epochs: number of epochs.
        iterations: steps per epoch.
        val_iterations: validation batches per epoch.
        save_every: epochs between two `checkpoint_latest.pth`.
        initial_lr: initial learning rate of nnU-Net's schedule.
        deep_supervision: whether coarser outputs are trained too.
        seed: of weights, batches and attacks. With nnUNet_n_proc_DA=0 a run can then be repeated bit by bit on a CPU,
            and one that was resumed equals one that was not.
        robust_best: how the robust-best checkpoint is chosen.
    """

    model_config = ConfigDict(extra="forbid")

    method: dict[str, Any] = {}
    epochs: int | None = Field(None, ge=1)
    iterations: int | None = Field(None, ge=1)
    val_iterations: int | None = Field(None, ge=1)
    save_every: int | None = Field(None, ge=1)
    initial_lr: float | None = Field(None, gt=0)
    deep_supervision: bool = True
    seed: int | None = Field(None, ge=0)
    robust_best: RobustBest = RobustBest(batches=4, steps=10)


def load_config(path: Path) -> RobustConfig:
    """Read a configuration file.

    Raises:
        InputError: if the file cannot be read, a key is unknown or a value is refused.
    """
    return parse_config(read_yaml(path), source=str(path))


def parse_config(content: Mapping[str, Any], *, source: str) -> RobustConfig:
    """Check a configuration.

    Raises:
        InputError: if a key is unknown or a value is refused.
    """
    return validated(RobustConfig, content, source=source)
