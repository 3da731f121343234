"""nnU-Net's trainer around a training method: data, schedule, losses and optimiser steps stay nnU-Net's own.

During the trainer's `train_step` its network is replaced by a pass-through that returns the images, and its loss by the
method, which runs the real network as often as it needs. Mixed precision, gradient clipping and the optimiser are not
changed.
"""

from __future__ import annotations

import math
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import Tensor, nn

from imaseg.errors import InputError
from imaseg.integrations.nnunet.config import PERTURBATION, VARIABLE, RobustConfig, load_config, parse_config
from imaseg.integrations.nnunet.network import SearchableNetwork
from imaseg.integrations.nnunet.probe import RobustProbe
from imaseg.integrations.nnunet.record import margin_figures, plot_margins, write_settings, write_tables
from imaseg.integrations.nnunet.targets import loss_target, search_label
from imaseg.perturbations import Perturbation
from imaseg.training import TrainingMethod, build_method

ROBUST_BEST = "checkpoint_robust_best.pth"
_KEY = "imaseg"
_RANKS_APART = 1_000_003


class RobustTrainer(nnUNetTrainer):
    """Base class of the trainers; a subclass names its method.

    Attributes:
        method_name: registered name of the training method.
        preset: default arguments of the method, which the settings may override.
        short: number of epochs of a short-schedule variant.
        config: settings in effect.
        method: the training method, once the trainer is initialised.
        history: one row of figures per finished epoch.
    """

    network: Any
    loss: Any
    my_init_kwargs: dict[str, Any]
    enable_deep_supervision: bool

    method_name: ClassVar[str] = "standard"
    preset: ClassVar[dict[str, Any]] = {}
    short: ClassVar[int | None] = None

    def __init__(
        self,
        plans: dict[str, Any],
        configuration: str,
        fold: int,
        dataset_json: dict[str, Any],
        device: torch.device = torch.device("cuda"),  # noqa: B008 (nnU-Net's own signature)
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.history: list[dict[str, float]] = []
        named = os.environ.get(VARIABLE)
        self._apply_config(load_config(Path(named)) if named else parse_config({}, source="settings"))

    def initialize(self) -> None:
        """Initialise nnU-Net's trainer, then build the method.

        Raises:
            InputError: if the settings do not fit the method.
        """
        if self.config.seed is not None:
            torch.manual_seed(self.config.seed)
        super().initialize()
        seed = (self.config.seed or 0) + self.local_rank * _RANKS_APART
        try:
            self.method: TrainingMethod = build_method(self._method_settings(), self._nnunet_loss, seed=seed)
            self.method.set_voxel_volume(math.prod(self.configuration_manager.spacing))
            perturbation = Perturbation.build(self.config.robust_best.perturbation or self._perturbation())
        except ValueError as error:
            msg = f"method of {type(self).__name__}: {error}"
            raise InputError(msg) from error
        self._moves_label = Perturbation.named(self._perturbation()["name"]).moves_label
        self._searchable = SearchableNetwork(self.network)
        best = self.config.robust_best
        self._probe = RobustProbe(self._searchable, perturbation, steps=best.steps, batches=best.batches)

    def on_train_start(self) -> None:
        """Extend nnU-Net's hook: write the settings next to its own files."""
        super().on_train_start()
        if self.local_rank == 0:
            content = self.config.model_dump() | {"method": self._arguments()}
            write_settings(Path(self.output_folder), content)

    def on_train_epoch_start(self) -> None:
        """Extend nnU-Net's hook: with a seed, every epoch starts from its own fixed random state."""
        if self.config.seed is not None:
            seed = self.config.seed + self.current_epoch + 1 + self.local_rank * _RANKS_APART
            random.seed(seed)
            np.random.seed(seed % 2**32)  # noqa: NPY002 (nnU-Net draws its batches from here)
            torch.manual_seed(seed)
        super().on_train_epoch_start()

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Run nnU-Net's training step on the method's loss."""
        self._ids = [str(key) for key in batch["keys"]]
        losses: dict[str, Any] = {}
        with self._method_in_place():
            for _ in range(getattr(self.method, "replays", 1)):
                losses = super().train_step(batch)
        return losses

    def on_train_epoch_end(self, train_outputs: list[dict[str, Any]]) -> None:
        """Extend nnU-Net's hook: end the method's epoch, which moves the margins."""
        super().on_train_epoch_end(train_outputs)
        self.method.end_epoch()
        self._probe.start_epoch()

    def validation_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Run nnU-Net's validation step; the first few batches are attacked too."""
        if self._probe.wanted:
            label = self._label(batch["target"]).to(self.device)
            self._probe.attack_batch(batch["data"].to(self.device), label)
        outputs: dict[str, Any] = super().validation_step(batch)
        return outputs

    def on_epoch_end(self) -> None:
        """Extend nnU-Net's hook: record the epoch and keep the most robust checkpoint."""
        row = {
            "epoch": float(self.current_epoch + 1),
            "train_loss": float(self.logger.get_value("train_losses", step=-1)),
            "pseudo_dice": float(self.logger.get_value("mean_fg_dice", step=-1)),
            **getattr(self.method, "last_epoch", {}),
            **margin_figures(self._margins()),
        }
        if self._probe.batches:
            improved = self._probe.end_epoch()
            row |= {"robust_dice": self._probe.latest, "robust_dice_ema": self._probe.average}
            self.print_to_log_file("Robust Dice", round(self._probe.latest, 4))
        self.history.append(row)
        if self._probe.batches and improved:
            self.print_to_log_file(f"New best EMA robust Dice: {self._probe.best:.4f}")
            self.save_checkpoint(str(Path(self.output_folder) / ROBUST_BEST))
        if self.local_rank == 0:
            folder = Path(self.output_folder)
            write_tables(folder, self._margins(), self.history)
            if self._margins():
                unit = Perturbation.build(self._perturbation()).unit
                plot_margins(folder, self._margins(), self.history, unit)
        super().on_epoch_end()

    def save_checkpoint(self, filename: str) -> None:
        """Save as nnU-Net does, with settings, margins and history among the init arguments, which nnU-Net ignores."""
        kept = self.my_init_kwargs
        self.my_init_kwargs = {**kept, _KEY: self._state()}
        try:
            super().save_checkpoint(filename)
        finally:
            self.my_init_kwargs = kept

    def load_checkpoint(self, filename_or_checkpoint: dict[str, Any] | str) -> None:
        """Load as nnU-Net does, with margins and history; settings too, unless `IMASEG_CONFIG` gives them.

        Raises:
            InputError: if it was trained by another method or with other settings of it.
        """
        unsettled = not (self.was_initialized or os.environ.get(VARIABLE))
        if unsettled and isinstance(filename_or_checkpoint, str):
            # Not less safe than nnU-Net, which reads the same file in the same way just afterwards.
            content = torch.load(filename_or_checkpoint, map_location="cpu", weights_only=False)
            if _KEY in content["init_args"]:
                self._apply_config(
                    parse_config(content["init_args"][_KEY]["config"], source=str(filename_or_checkpoint))
                )
        super().load_checkpoint(filename_or_checkpoint)
        state = self.my_init_kwargs.pop(_KEY, None)
        if state is None or state["method_name"] != self.method_name:
            trained = "stock nnU-Net" if state is None else f"method {state['method_name']}"
            msg = (
                f"{filename_or_checkpoint} must be a checkpoint of {type(self).__name__} to be resumed, got one of "
                f"{trained}. Start from its weights with -pretrained_weights."
            )
            raise InputError(msg)
        changed = [
            key for key in ("method", "seed", "deep_supervision") if state["config"][key] != self._fixed_settings()[key]
        ]
        if changed:
            msg = (
                f"{filename_or_checkpoint} must be resumed with the settings it was started with, got another "
                f"{changed[0]}: {self._fixed_settings()[changed[0]]}, not {state['config'][changed[0]]}."
            )
            raise InputError(msg)
        self.method.load_state_dict(state["state"])
        self._probe.load_state_dict(state["probe"])
        self.history = list(state["history"])

    def _apply_config(self, config: RobustConfig) -> None:
        self.config = config
        for name, value in {
            "num_epochs": config.epochs or self.short,
            "num_iterations_per_epoch": config.iterations,
            "num_val_iterations_per_epoch": config.val_iterations,
            "save_every": config.save_every,
            "initial_lr": config.initial_lr,
        }.items():
            if value is not None:
                setattr(self, name, value)
        self.enable_deep_supervision = self.enable_deep_supervision and config.deep_supervision

    def _arguments(self) -> dict[str, Any]:
        """Arguments of the method in effect."""
        return {**self.preset, **self.config.method}

    def _method_settings(self) -> dict[str, Any]:
        """Settings as `build_method` takes them.

        Raises:
            ValueError: if the settings name another method.
        """
        settings = {"name": self.method_name, **self._arguments()}
        if settings["name"] != self.method_name:
            msg = f"name must be {self.method_name}, got {settings['name']!r}. Name another trainer with -tr."
            raise ValueError(msg)
        return settings

    def _perturbation(self) -> dict[str, Any]:
        """The perturbation set of the method; a default one for methods without."""
        spec = self._arguments().get("perturbation", PERTURBATION)
        return {"name": spec} if isinstance(spec, str) else dict(spec)

    def _fixed_settings(self) -> dict[str, Any]:
        """Settings that must not change when a run is resumed."""
        return self.config.model_dump() | {"method": self._arguments()}

    def _state(self) -> dict[str, Any]:
        return {
            "method_name": self.method_name,
            "config": self._fixed_settings(),
            "state": self.method.state_dict(),
            "probe": self._probe.state_dict(),
            "history": self.history,
        }

    def _margins(self) -> dict[str, float]:
        return dict(getattr(self.method, "margins", {}))

    @contextmanager
    def _method_in_place(self) -> Iterator[None]:
        """Context in which the trainer's network and loss are replaced, so that the method runs them."""
        network, loss = self.network, self.loss
        self.network, self.loss = _PassThrough(network), self._robust_loss
        self._own_loss = loss
        try:
            yield
        finally:
            self.network, self.loss = network, loss

    def _robust_loss(self, image: Tensor, target: Any) -> Tensor:
        """The method's loss of a batch; its search runs outside of nnU-Net's mixed precision."""
        self._target = target
        self._searchable.start_step(self.device)
        with self._searchable.full_precision():
            return self.method(self._searchable, image, self._label(target), self._ids)

    def _nnunet_loss(self, output: Any, label: Tensor) -> Tensor:
        """nnU-Net's own loss, with the batch's own targets unless the label was moved."""
        target = self._target
        if self._moves_label:
            target = loss_target(label, target, ignore=self.label_manager.ignore_label)
        with self._searchable.own_precision():
            loss: Tensor = self._own_loss(output, target)
        return loss

    def _label(self, target: Any) -> Tensor:
        manager = self.label_manager
        return search_label(target, regions=manager.has_regions, ignore=manager.ignore_label)


class _PassThrough:
    """Replaces the trainer's network during a step: returns the images unchanged, as input of the replaced loss."""

    def __init__(self, network: nn.Module) -> None:
        self._network = network

    def __call__(self, image: Tensor) -> Tensor:
        return image

    def parameters(self) -> Iterator[nn.Parameter]:
        """Parameters of the real network, for gradient clipping."""
        return self._network.parameters()
