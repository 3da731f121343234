"""The state that an interrupted run resumes from: one file, written atomically after every epoch, read as data."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel

from imaseg.data.files import whole_file
from imaseg.errors import InputError
from imaseg.models.archive import read_archive
from imaseg.training import TrainingMethod

CHECKPOINT = "checkpoint.pt"


@dataclass
class RunState:
    """All state that changes during a run. Random numbers depend on seed and epoch only, so none are kept.

    Attributes:
        network: its weights.
        optimizer: its moments.
        schedule: its epoch.
        method: margins and counters.
        scaler: loss scaling under mixed precision on a GPU.
        kept: mean of the weights that is monitored and saved; None where the weights themselves are.
        data: hash of the files that are trained on.
        threads: of the CPU that the run began with; None until it has begun.
        history: one row of metrics per finished epoch.
    """

    network: nn.Module
    optimizer: Optimizer
    schedule: LRScheduler
    method: TrainingMethod
    scaler: torch.amp.GradScaler
    kept: AveragedModel | None = None
    data: str = ""
    threads: int | None = None
    history: list[dict[str, float]] = field(default_factory=list)

    @property
    def epoch(self) -> int:
        """Number of finished epochs."""
        return len(self.history)

    def save(self, folder: Path) -> None:
        """Write the checkpoint atomically."""
        parts: dict[str, Any] = {name: part.state_dict() for name, part in self._parts().items()}
        content = io.BytesIO()  # on a full disk torch's own writer fails without saying why
        torch.save({**parts, "history": self.history, "data": self.data, "threads": self.threads}, content)
        with whole_file(folder / CHECKPOINT) as path:
            path.write_bytes(content.getbuffer())

    def load(self, folder: Path) -> None:
        """Load the checkpoint of `folder`.

        Raises:
            InputError: if it is damaged, or belongs to another configuration or to other data.
        """
        path = folder / CHECKPOINT
        try:
            saved = read_archive(path, mend="Use another --out.")
            for name, part in self._parts().items():
                # Without mixed precision on a GPU there is no scale, and a scaler refuses an empty state.
                if saved[name] or name != "scaler":
                    part.load_state_dict(saved[name])
            self.history, self.threads = list(saved["history"]), saved.get("threads")
        except Exception as error:  # optimisers and schedules check little of what they load
            got = "a damaged one" if isinstance(error, InputError) else f"a damaged one ({type(error).__name__})"
            msg = (
                f"{path} must be the checkpoint of this run, got {got}. Restore it, or delete it and run the same "
                "command with --resume to train from the first epoch."
            )
            raise InputError(msg) from error
        if saved.get("data", self.data) != self.data:  # those of earlier versions do not say
            msg = f"{folder} must be resumed with the data it was started with, got changed files. Name another --out."
            raise InputError(msg)

    def _parts(self) -> dict[str, Any]:
        kept = {} if self.kept is None else {"kept": self.kept}
        return {
            **kept,
            "network": self.network,
            "optimizer": self.optimizer,
            "schedule": self.schedule,
            "method": self.method,
            "scaler": self.scaler,
        }
