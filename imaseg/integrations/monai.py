"""Training methods in MONAI's engines: an `iteration_update` for `SupervisedTrainer`, and a handler for margins."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from monai.losses import DeepSupervisionLoss
from monai.utils.enums import CommonKeys as Keys
from torch import Tensor, distributed

from imaseg.integrations.trajectories import write_trajectories
from imaseg.training import IMA, TrainingMethod, adversarial_weights

_LOG = logging.getLogger(__name__)


class RobustIteration:
    """Replaces the iteration of a `SupervisedTrainer`, so that a training method computes the loss.

    Takes batches through the trainer's `prepare_batch`, fires the iteration events that MONAI's handlers wait for,
    works under AMP, with `accumulation_steps` and in `DistributedDataParallel`, repeats a batch as often as the method
    asks (`FreeTraining`), and once `attach`ed tells the method when an epoch ends. `engine.state.output`
    holds image, label and loss; there is no single prediction, since a method may run the network on several images,
    so metrics belong to an evaluator. The trainer's `inferer` is not used.

    Args:
        method: training method, such as `Standard`, `PGDTraining`, `TRADES` or `IMA`.
        id_key: key of the batch that holds the case ids, a list of strings. Batches without it need images that are
            `MetaTensor`s with the file they were read from.
        inside_key: key of the batch that holds a mask (B, 1, *spatial), 0 where an image was padded; without it every
            voxel counts.
        awp: length of adversarial weight perturbations as a share of the weights (`adversarial_weights`), such as
            0.005; None for none.

    Example::

        ima = IMA(loss, L2(0.1, unit="rms"))
        iteration = RobustIteration(ima)
        trainer = SupervisedTrainer(..., loss_function=loss, iteration_update=iteration)
        iteration.attach(trainer)
        CheckpointSaver(folder, save_dict={"net": net, "ima": ima}, save_interval=1).attach(trainer)
    """

    def __init__(
        self, method: TrainingMethod, *, id_key: str = "id", inside_key: str = "inside", awp: float | None = None
    ) -> None:
        self.method = method
        self.awp = awp
        self.id_key, self.inside_key = id_key, inside_key
        self._ended = 0

    def attach(self, trainer: SupervisedTrainer) -> None:
        """Call `method.end_epoch()` after the last iteration of each epoch, before handlers of the epoch's end."""
        trainer.add_event_handler(Events.STARTED, self._started)
        trainer.add_event_handler(Events.ITERATION_COMPLETED, self._last_of_epoch)
        # The first epoch of a loader without a length is known to be over only here.
        trainer.add_event_handler(Events.EPOCH_COMPLETED, self._end)

    def __call__(self, engine: SupervisedTrainer, batchdata: Any) -> dict[str, Any]:
        """Make one optimiser step, or several if the method repeats each batch.

        Raises:
            ValueError: if `prepare_batch` returns more than image and label, or a method that repeats batches is
                combined with gradient accumulation.
        """
        batch = engine.prepare_batch(batchdata, engine.state.device, engine.non_blocking, **engine.to_kwargs)
        if len(batch) != 2:
            msg = f"prepare_batch must give (image, label), got {len(batch)} parts. Methods call the network on images."
            raise ValueError(msg)
        accumulated = getattr(engine, "accumulation_steps", 1)
        if accumulated > 1 and self.method.replays > 1:
            msg = f"accumulation_steps must be 1 where batches are replayed, got {accumulated}. Use a larger batch."
            raise ValueError(msg)
        given = batchdata if isinstance(batchdata, Mapping) else {}
        named = {"ids": given.get(self.id_key)}
        inside = given.get(self.inside_key)
        if inside is not None and not bool(inside.all()):
            named["inside"] = inside.to(engine.state.device, non_blocking=engine.non_blocking).bool()
        engine.state.output = {Keys.IMAGE: batch[0], Keys.LABEL: batch[1]}
        engine.network.train()
        for _ in range(self.method.replays):
            self._step(engine, named, accumulated)
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return engine.state.output

    def _step(self, engine: SupervisedTrainer, named: Mapping[str, Any], accumulated: int) -> None:
        image, label = engine.state.output[Keys.IMAGE], engine.state.output[Keys.LABEL]
        length = engine.state.epoch_length
        batch_index = engine.state.iteration - 1 if length is None else (engine.state.iteration - 1) % length
        if batch_index % accumulated == 0:
            engine.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(engine.state.device.type, enabled=bool(engine.amp), **engine.amp_kwargs):
            if self.awp is None:
                loss = self.method(engine.network, image, label, **named)
            else:
                loss = adversarial_weights(self.method, engine.network, image, label, **named, gamma=self.awp)
        engine.state.output[Keys.LOSS] = loss.detach()
        engine.fire_event(IterationEvents.FORWARD_COMPLETED)
        engine.fire_event(IterationEvents.LOSS_COMPLETED)
        scaler = engine.scaler if engine.amp else None
        loss = loss / accumulated if accumulated > 1 else loss
        (scaler.scale(loss) if scaler is not None else loss).backward()
        engine.fire_event(IterationEvents.BACKWARD_COMPLETED)
        # As in MONAI: gradients of an incomplete accumulation at the end of an epoch are applied too.
        if (batch_index + 1) % accumulated == 0 or batch_index + 1 == length:
            self._descend(engine, scaler)

    @staticmethod
    def _descend(engine: SupervisedTrainer, scaler: Any) -> None:
        if scaler is None:
            engine.optimizer.step()
        else:
            scaler.step(engine.optimizer)
            scaler.update()

    def _started(self, engine: Engine) -> None:
        self._ended = engine.state.epoch

    def _last_of_epoch(self, engine: Engine) -> None:
        length = engine.state.epoch_length
        if length is not None and engine.state.iteration % length == 0:
            self._end(engine)

    def _end(self, engine: Engine) -> None:
        if self._ended < engine.state.epoch:
            self._ended = engine.state.epoch
            self.method.end_epoch()


class MarginHandler:
    """Logs IMA's margins at the end of each epoch, on request also as a CSV file and to TensorBoard.

    In distributed training only rank 0 writes.

    Args:
        ima: the method; its `RobustIteration` has to be attached too, in any order.
        file: CSV file of trajectories: epoch, case, margin, visits, broken.
        writer: TensorBoard `SummaryWriter` for a histogram and the summary of the epoch.
    """

    def __init__(self, ima: IMA, *, file: str | Path | None = None, writer: Any = None) -> None:
        self.ima = ima
        self.file = None if file is None else Path(file)
        self.writer = writer

    def attach(self, engine: Engine) -> None:
        """Attach the handler to a trainer."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Write the current margins."""
        if distributed.is_available() and distributed.is_initialized() and distributed.get_rank() > 0:
            return
        epoch, summary = engine.state.epoch, self.ima.last_epoch
        _LOG.info("epoch %d: %s", epoch, " ".join(f"{key} {value:.4g}" for key, value in summary.items()))
        if self.file is not None:
            write_trajectories(self.file, epoch, self.ima.table)
        if self.writer is not None and self.ima.margins:
            self.writer.add_histogram("margins", torch.tensor(list(self.ima.margins.values())), epoch)
            for key, value in summary.items():
                self.writer.add_scalar(f"margins/{key}", value, epoch)


def deep_supervision(loss: Callable[[Tensor, Tensor], Tensor], **options: Any) -> Callable[[Any, Tensor], Tensor]:
    """MONAI's `DeepSupervisionLoss` for a list of heads, heads stacked on axis 1 (DynUNet), or one tensor.

    Args:
        loss: loss of one head and its label (B, 1, *spatial) or (B, K, *spatial).
        options: `weight_mode` or `weights` of `DeepSupervisionLoss`.
    """
    several = DeepSupervisionLoss(loss, **options)

    def call(output: Any, label: Tensor) -> Tensor:
        if isinstance(output, Tensor) and output.ndim == label.ndim:
            return loss(output, label)
        parts = list(output.unbind(1)) if isinstance(output, Tensor) else list(output)
        # Labels shrink with the heads, by interpolation that knows floating numbers only.
        return several(parts, label.float())

    return call
