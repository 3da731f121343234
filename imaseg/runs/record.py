"""Writes the files of a run after each epoch (metrics, margins, TensorBoard, weights, checkpoint); shows progress."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import torch
from ignite.engine import Engine, Events
from monai.engines import SupervisedTrainer
from torch.utils.tensorboard import SummaryWriter

from imaseg.data.files import must_remain, told_if_unwritable, write_json
from imaseg.data.table_file import write_table
from imaseg.errors import InputError
from imaseg.integrations.trajectories import write_trajectories
from imaseg.models.finite import not_finite
from imaseg.models.run_folder import save_run_model
from imaseg.models.segmentation import SegmentationModel
from imaseg.progress import bar, step_line
from imaseg.runs.checkpoint import RunState
from imaseg.runs.choice import OUTCOME, outcome
from imaseg.runs.claim import CONFIG
from imaseg.runs.config import ATTACKED, CLEAN, TrainConfig
from imaseg.runs.monitor import Monitor
from imaseg.training import IMA, OneOf, TrainingMethod


class EpochRecord:
    """Handler of a MONAI trainer; attach it last, so that it writes after margins and schedule have moved on.

    Args:
        model: the model in training.
        state: what the checkpoint holds.
        out: run folder.
        monitor: follows the Dice, if given.
        config: whose weights are kept, by which Dice the best epoch is told, and how long to wait for a better one.
        say: is told what the training method remarks on an epoch.
    """

    def __init__(
        self,
        model: SegmentationModel,
        state: RunState,
        out: Path,
        *,
        monitor: Monitor | None,
        config: TrainConfig,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self.model, self.state, self.out, self.monitor, self.say = model, state, out, monitor, say
        self.config = config
        self.board = out / "tensorboard"
        self._losses: list[float] = []
        self._said: set[str] = set()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with told_if_unwritable(self.board):
            self.writer = SummaryWriter(str(self.board), purge_step=self.state.epoch + 1)
        self._stack.callback(self._close)
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def _close(self) -> None:
        with told_if_unwritable(self.board):
            self.writer.close()

    def attach(self, trainer: SupervisedTrainer) -> None:
        """Attach the handler to a trainer that has not started."""
        trainer.add_event_handler(Events.STARTED, self._open_bar)
        trainer.add_event_handler(Events.EPOCH_STARTED, self._note_rate)
        trainer.add_event_handler(Events.ITERATION_COMPLETED, self._iteration)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, self._epoch)

    def _open_bar(self, engine: Engine) -> None:
        self._tell = self._stack.enter_context(bar(f"train {self.out.name}"))

    def _note_rate(self, _: Engine) -> None:
        # At the end of the epoch the schedule already holds the learning rate of the next one.
        self._rate = float(self.state.optimizer.param_groups[0]["lr"])

    def _iteration(self, engine: Engine) -> None:
        self._losses.append(float(engine.state.output["loss"]))
        latest = self.state.history[-1] if self.state.history else {}
        note = " ".join(f"{key} {latest[key]:.3f}" for key in (CLEAN, ATTACKED, "mean_margin") if key in latest)
        total = (engine.state.epoch_length or 0) * (engine.state.max_epochs or 0)
        self._tell(engine.state.iteration, total, note)

    def _epoch(self, engine: Engine) -> None:
        must_remain(self.out / CONFIG)
        self._require_finite(engine.state.epoch)
        row: dict[str, float] = {
            "epoch": float(engine.state.epoch),
            "learning_rate": self._rate,
            "loss": sum(self._losses) / len(self._losses),
        }
        self._losses.clear()
        if self.monitor is not None:
            row |= self.monitor.scores()
        method = self.state.method
        margins = _margins_of(method)
        for name, ima in margins.items():
            row |= {f"{name}{'_' * bool(name)}{key}": value for key, value in ima.last_epoch.items()}
            suffix = f"_{name}" if name else ""
            rows = [{"case": case, "margin": margin} for case, margin in sorted(ima.margins.items())]
            write_rows(self.out / f"margins{suffix}.csv", rows)
            write_trajectories(self.out / f"margin_trajectories{suffix}.csv", engine.state.epoch, ima.table)
        self.state.history.append(row)
        unit = margins[""].attack.perturbation.unit if "" in margins else ""
        step_line(_summary(row, engine.state.max_epochs or 0, unit))
        done = outcome(self.state.history, self.config)
        self._remark(method, engine.state.epoch, last=done.over)
        if done.ended_early and self.say is not None:
            self.say(done.sentence)
        with told_if_unwritable(self.board):
            for name, ima in margins.items():
                values = torch.tensor(list(ima.margins.values()))
                if len(values):
                    self.writer.add_histogram(f"margins{'/' * bool(name)}{name}", values, engine.state.epoch)
            for key, value in row.items():
                self.writer.add_scalar(key, value, engine.state.epoch)
        write_rows(self.out / "metrics.csv", self.state.history)
        if done.weights_of_epoch == done.epochs:
            save_run_model(self.model, self.out)
        write_json(self.out / OUTCOME, done.told())
        # The checkpoint comes last: a run killed before it repeats the epoch, one killed after it has all files.
        self.state.save(self.out)

    def _require_finite(self, epoch: int) -> None:
        """Refuse to go on with weights that are no numbers; what is saved is that of the epoch before.

        Raises:
            InputError: naming the first such weight.
        """
        if (found := not_finite(self.state.network)) is not None:
            msg = (
                f"{self.out}: weights must stay numbers, got {found} in epoch {epoch}. Lower learning_rate or check "
                "the loss, and train into another --out."
            )
            raise InputError(msg)

    def _remark(self, method: TrainingMethod, epoch: int, *, last: bool) -> None:
        """Say what is wrong with an epoch, the first time and at the end of the run."""
        for about, text in method.remarks.items():
            if self.say is not None and (last or about not in self._said):
                self.say(f"Epoch {epoch}: {text}")
            self._said.add(about)


def _summary(row: Mapping[str, float], epochs: int, unit: str) -> str:
    """An epoch in a line, margins in their unit."""
    words = {"loss": "loss", CLEAN: "clean Dice of monitored cases", ATTACKED: "attacked", "mean_margin": "mean margin"}
    units = {"mean_margin": f" {unit}"}
    told = ", ".join(f"{word} {row[key]:.4f}{units.get(key, '')}" for key, word in words.items() if key in row)
    return f"Epoch {row['epoch']:.0f} of {epochs}: {told}."


def _margins_of(method: TrainingMethod) -> dict[str, IMA]:
    """What keeps margins, by the name of its set; without a name where there is one set only."""
    if isinstance(method, IMA):
        return {"": method}
    parts = method.parts if isinstance(method, OneOf) else {}
    return {name: part for name, part in parts.items() if isinstance(part, IMA)}


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows as a CSV file, atomically."""
    # Rows of a run that an earlier version of imaseg began may lack columns.
    write_table(path, list(dict.fromkeys(name for row in rows for name in row)), rows)
