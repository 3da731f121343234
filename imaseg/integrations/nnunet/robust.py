"""nnU-Net's trainer around a training method: data, schedule, losses and steps stay nnU-Net's own.

A step is the trainer's `train_step`, in which two things are exchanged: what it calls the network hands the images on,
and what it calls the loss is the method, which runs the network as often as it needs. Mixed precision, gradient
clipping and the optimiser are never touched.
"""

from __future__ import annotations

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
    """Base of the trainers; a subclass names its method.

    Attributes:
        method_name: registered name of the training method.
        preset: arguments of the method where the settings do not say otherwise.
        short: epochs of a short-schedule variant.
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
        self._take(load_config(Path(named)) if named else parse_config({}, source="settings"))

    def initialize(self) -> None:
        """As nnU-Net, and the method.

        Raises:
            InputError: if the settings do not fit the method.
        """
        if self.config.seed is not None:
            torch.manual_seed(self.config.seed)
        super().initialize()
        seed = (self.config.seed or 0) + self.local_rank * _RANKS_APART
        try:
            self.method: TrainingMethod = build_method(self._method_settings(), self._nnunet_loss, seed=seed)
            perturbation = Perturbation.build(self.config.robust_best.perturbation or self._perturbation())
        except ValueError as error:
            msg = f"method of {type(self).__name__}: {error}"
            raise InputError(msg) from error
        self._moves_label = Perturbation.named(self._perturbation()["name"]).moves_label
        self._searchable = SearchableNetwork(self.network)
        best = self.config.robust_best
        self._probe = RobustProbe(self._searchable, perturbation, steps=best.steps, batches=best.batches)

    def on_train_start(self) -> None:
        """As nnU-Net, and write the settings next to its own files."""
        super().on_train_start()
        if self.local_rank == 0:
            content = self.config.model_dump() | {"method": self._arguments()}
            write_settings(Path(self.output_folder), content)

    def on_train_epoch_start(self) -> None:
        """As nnU-Net; with a seed every epoch starts from the same random numbers."""
        if self.config.seed is not None:
            seed = self.config.seed + self.current_epoch + 1 + self.local_rank * _RANKS_APART
            random.seed(seed)
            np.random.seed(seed % 2**32)  # noqa: NPY002 (nnU-Net draws its batches from here)
            torch.manual_seed(seed)
        super().on_train_epoch_start()

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """nnU-Net's step on the method's loss."""
        self._ids = [str(key) for key in batch["keys"]]
        losses: dict[str, Any] = {}
        with self._exchanged():
            for _ in range(getattr(self.method, "replays", 1)):
                losses = super().train_step(batch)
        return losses

    def on_train_epoch_end(self, train_outputs: list[dict[str, Any]]) -> None:
        """As nnU-Net, and the margins move."""
        super().on_train_epoch_end(train_outputs)
        self.method.end_epoch()
        self._probe.start_epoch()

    def validation_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """As nnU-Net; the first few batches are attacked too."""
        if self._probe.wanted:
            label = self._label(batch["target"]).to(self.device)
            self._probe.look(batch["data"].to(self.device), label)
        outputs: dict[str, Any] = super().validation_step(batch)
        return outputs

    def on_epoch_end(self) -> None:
        """Note the epoch, keep the most robust checkpoint, then as nnU-Net."""
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
        """As nnU-Net, with settings, margins and history among the init arguments, where it reads over them."""
        kept = self.my_init_kwargs
        self.my_init_kwargs = {**kept, _KEY: self._state()}
        try:
            super().save_checkpoint(filename)
        finally:
            self.my_init_kwargs = kept

    def load_checkpoint(self, filename_or_checkpoint: dict[str, Any] | str) -> None:
        """As nnU-Net, with margins and history; without `IMASEG_CONFIG` the settings are the checkpoint's too.

        Raises:
            InputError: if it was trained by another method or with other settings of it.
        """
        unsettled = not (self.was_initialized or os.environ.get(VARIABLE))
        if unsettled and isinstance(filename_or_checkpoint, str):
            # nnU-Net reads the file in the same way in a moment.
            content = torch.load(filename_or_checkpoint, map_location="cpu", weights_only=False)
            if _KEY in content["init_args"]:
                self._take(parse_config(content["init_args"][_KEY]["config"], source=str(filename_or_checkpoint)))
        super().load_checkpoint(filename_or_checkpoint)
        state = self.my_init_kwargs.pop(_KEY, None)
        if state is None or state["method_name"] != self.method_name:
            trained = "stock nnU-Net" if state is None else f"method {state['method_name']}"
            msg = (
                f"{filename_or_checkpoint} must be a checkpoint of {type(self).__name__} to be gone on with, got one "
                f"of {trained}. Start from its weights with -pretrained_weights."
            )
            raise InputError(msg)
        changed = [key for key in ("method", "seed", "deep_supervision") if state["config"][key] != self._frozen()[key]]
        if changed:
            msg = (
                f"{filename_or_checkpoint} must be gone on with by the settings it was started with, got another "
                f"{changed[0]}: {self._frozen()[changed[0]]}, not {state['config'][changed[0]]}."
            )
            raise InputError(msg)
        self.method.load_state_dict(state["state"])
        self._probe.load_state_dict(state["probe"])
        self.history = list(state["history"])

    def _take(self, config: RobustConfig) -> None:
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
        """As `build_method` takes them.

        Raises:
            ValueError: if the settings name another method.
        """
        settings = {"name": self.method_name, **self._arguments()}
        if settings["name"] != self.method_name:
            msg = f"name must be {self.method_name}, got {settings['name']!r}. Name another trainer with -tr."
            raise ValueError(msg)
        return settings

    def _perturbation(self) -> dict[str, Any]:
        """Set of the method; the usual one for methods without."""
        spec = self._arguments().get("perturbation", PERTURBATION)
        return {"name": spec} if isinstance(spec, str) else dict(spec)

    def _frozen(self) -> dict[str, Any]:
        """Settings that may not change when a run is resumed."""
        return self.config.model_dump() | {"method": self._arguments()}

    def _state(self) -> dict[str, Any]:
        return {
            "method_name": self.method_name,
            "config": self._frozen(),
            "state": self.method.state_dict(),
            "probe": self._probe.state_dict(),
            "history": self.history,
        }

    def _margins(self) -> dict[str, float]:
        return dict(getattr(self.method, "margins", {}))

    @contextmanager
    def _exchanged(self) -> Iterator[None]:
        """The trainer with the method in the place of its loss."""
        network, loss = self.network, self.loss
        self.network, self.loss = _HandOn(network), self._robust_loss
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
        """nnU-Net's own loss, of the batch's own targets unless the label moved."""
        target = self._target
        if self._moves_label:
            target = loss_target(label, target, ignore=self.label_manager.ignore_label)
        with self._searchable.own_precision():
            loss: Tensor = self._own_loss(output, target)
        return loss

    def _label(self, target: Any) -> Tensor:
        manager = self.label_manager
        return search_label(target, regions=manager.has_regions, ignore=manager.ignore_label)


class _HandOn:
    """Stands where the trainer has its network: hands the images on to what stands where it has its loss."""

    def __init__(self, network: nn.Module) -> None:
        self._network = network

    def __call__(self, image: Tensor) -> Tensor:
        return image

    def parameters(self) -> Iterator[nn.Parameter]:
        """Of the network, for the gradient's clipping."""
        return self._network.parameters()
