"""The training configuration: one YAML file, all of whose keys are checked before anything runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from imaseg.data.yaml_file import parse_yaml, read_yaml
from imaseg.errors import InputError
from imaseg.perturbations import millimetres
from imaseg.validated import validated

CLEAN, ATTACKED = "monitor_dice", "monitor_attacked_dice"
"""Columns of the metrics: Dice of the monitored cases, unchanged and under `monitor_attack`."""


class TrainConfig(BaseModel):
    """Settings of a training run; unknown keys are refused.

    Attributes:
        network: class of `monai.networks.nets` and its arguments, without dimensions and channels.
        patch: side lengths of a training patch in voxels; larger than the cases means whole cases.
        batch_size: cases per step, of each process under `torchrun`.
        epochs: passes over the training cases.
        learning_rate: initial learning rate of AdamW.
        weight_decay: weight decay of AdamW.
        schedule: course of the learning rate over the epochs.
        loss: class of `monai.losses` and its arguments.
        foreground: share of the patches that are centred on a labelled voxel, where patches are smaller than cases.
        augment: true for small affine changes, noise, scaling and contrast; false for none, and no random crop; or a
            list of random transforms of MONAI that keep the size, such as `{name: RandGaussianNoised, prob: 0.2}`.
        flip: image axes that are mirrored at random, of x, y and z; `auto` is x, from left to right in cases of RAS
            orientation, or none where a label names a side, such as "left kidney".
        method: training method and its arguments.
        monitor: share of the training cases kept out to follow progress (at least one). The `val` split is not
            touched: it belongs to the audit.
        monitor_attack: attack that monitored cases are judged under too, after each epoch, within the set of the method
            or a `perturbation` of its own: `{name: pgd, steps: 5}`. `select` and `patience` then go by that Dice.
        select: epoch whose weights the run ends with: the `last`, or the `best` by the Dice of the monitored cases.
        patience: epochs in a row without a higher Dice of the monitored cases after which training ends; null: never.
        ema: weight that a running mean of the weights keeps in each step, such as 0.999 (less at first); that mean is
            what is monitored and saved. null: the weights themselves.
        awp: adversarial weight perturbation: the length by which weights are moved to where the batch is worse before
            each step's gradient is taken, as a share of the weights, such as 0.005. One more pass per batch for the
            weights; not under `torchrun`. null: none.
        clean_statistics: estimate BatchNorm's statistics of the saved model anew on clean training batches.
        seed: seed of initial weights, order, augmentation and attacks.
        init: run folder whose weights training starts from.
        amp: mixed precision.
        workers: processes that load data.
        cache: share of the free memory that the cases may take up; if they need more, they are read for each batch.
        device: "auto", "cpu", "cuda" or "cuda:N"; under `torchrun` each process takes its own GPU.
    """

    model_config = ConfigDict(extra="forbid")

    network: dict[str, Any]
    patch: list[Annotated[int, Field(ge=1)]] = Field(min_length=3, max_length=3)
    batch_size: int = Field(2, ge=1)
    epochs: int = Field(20, ge=1)
    learning_rate: float = Field(1e-3, gt=0, allow_inf_nan=False)
    weight_decay: float = Field(1e-4, ge=0, allow_inf_nan=False)
    schedule: Literal["cosine", "poly", "constant"] = "cosine"
    loss: dict[str, Any] = {"name": "DiceCELoss", "softmax": True, "to_onehot_y": True}
    foreground: float = Field(1 / 3, ge=0, le=1)
    augment: bool | list[dict[str, Any]] = True
    flip: Literal["auto"] | list[Literal["x", "y", "z"]] = "auto"
    method: dict[str, Any] = {"name": "standard"}
    monitor: float = Field(0.05, ge=0, lt=1)
    monitor_attack: dict[str, Any] | None = None
    select: Literal["last", "best"] = "last"
    patience: int | None = Field(None, ge=1)
    ema: float | None = Field(None, gt=0, lt=1)
    awp: float | None = Field(None, gt=0, lt=1)
    clean_statistics: bool = False
    seed: int = Field(0, ge=0)
    init: str | None = None
    amp: bool = False
    workers: int = Field(0, ge=0)
    cache: float = Field(0.5, ge=0, le=1)
    device: str = "auto"
    _file: str = ""

    @property
    def within(self) -> float | None:
        """Distance in mm from a structure within which alone `method.perturbation` may change images; None for all.

        Raises:
            InputError: if it is no such distance.
        """
        spec = self.method.get("perturbation")
        try:
            return millimetres(spec.get("within")) if isinstance(spec, Mapping) else None
        except ValueError as error:
            msg = f"{self.where}method.perturbation: {error}"
            raise InputError(msg) from error

    @property
    def best_by(self) -> str | None:
        """Column of the metrics that `select` and `patience` go by; None where no case is monitored."""
        return None if self.monitor == 0 else CLEAN if self.monitor_attack is None else ATTACKED

    @property
    def where(self) -> str:
        """Start of a message about a setting: the file, where it was read from one."""
        return f"{self._file}: " if self._file else ""


def load_config(path: Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """Read a YAML file and apply `key=value` overrides; dots reach into mappings, values are YAML.

    Raises:
        InputError: if the file cannot be read, a key is unknown or a value is refused.
    """
    settings = read_yaml(path)
    for override in overrides:
        _override(settings, override)
    config = validated(TrainConfig, settings, source=str(path))
    config._file = str(path)
    return config


def _override(settings: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key:
        msg = f"override must be key=value, got {override!r}. Example: epochs=5 method.steps=4."
        raise InputError(msg)
    *parents, last = key.split(".")
    mapping: Any = settings
    for parent in parents:
        mapping = mapping.setdefault(parent, {})
        if not isinstance(mapping, dict):
            msg = f"override must reach into a mapping, got {override!r}: {parent!r} is a value."
            raise InputError(msg)
    try:
        mapping[last] = parse_yaml(value)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = getattr(error, "problem", None) or error
        msg = f"override must have a YAML value, got {override!r} ({' '.join(str(reason).split())})."
        raise InputError(msg) from error


def named(spec: Mapping[str, Any], what: str) -> tuple[str, dict[str, Any]]:
    """Split a mapping `{name: ..., argument: ...}` into name and arguments.

    Raises:
        InputError: if the name is missing.
    """
    arguments = dict(spec)
    name = arguments.pop("name", None)
    if not isinstance(name, str):
        msg = f"{what} must have a name, got {dict(spec)}."
        raise InputError(msg)
    return name, arguments
