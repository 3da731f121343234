"""MONAI engines: a training method as the `iteration_update` of a `SupervisedTrainer`."""

from __future__ import annotations

from typing import Any

import torch
from ignite.engine import Events
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from monai.utils.enums import CommonKeys as Keys

from imaseg.training import TrainingMethod


class RobustIteration:
    """Replaces the trainer's own iteration: the loss comes from a training method.

    Fires the iteration events that MONAI's handlers wait for, works under AMP, and tells the method when an epoch
    ends once `attach`ed. `engine.state.output` holds image, label and loss; there is no single prediction, since a
    method may run the network on several images, so metrics belong to an evaluator.

    Args:
        method: `Standard`, `PGDTraining`, `IMA`, ...
        id_key: key of the batch that holds the case ids, a list of strings.

    Example::

        iteration = RobustIteration(IMA(loss, L2(0.1, unit="rms")))
        trainer = SupervisedTrainer(..., loss_function=loss, iteration_update=iteration)
        iteration.attach(trainer)
    """

    def __init__(self, method: TrainingMethod, *, id_key: str = "id") -> None:
        self.method = method
        self.id_key = id_key

    def attach(self, trainer: SupervisedTrainer) -> None:
        """Call `method.end_epoch()` at the end of each epoch, before handlers attached later."""
        trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda _: self.method.end_epoch())

    def __call__(self, engine: SupervisedTrainer, batchdata: dict[str, Any]) -> dict[str, Any]:
        """One optimiser step."""
        image, label = engine.prepare_batch(batchdata, engine.state.device, engine.non_blocking, **engine.to_kwargs)
        engine.state.output = {Keys.IMAGE: image, Keys.LABEL: label}
        engine.network.train()
        engine.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(engine.state.device.type, enabled=bool(engine.amp), **engine.amp_kwargs):
            loss = self.method(engine.network, image, label, batchdata.get(self.id_key))
        engine.state.output[Keys.LOSS] = loss.detach()
        engine.fire_event(IterationEvents.FORWARD_COMPLETED)
        engine.fire_event(IterationEvents.LOSS_COMPLETED)
        self._descend(engine, loss)
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return engine.state.output

    @staticmethod
    def _descend(engine: SupervisedTrainer, loss: torch.Tensor) -> None:
        scaler = engine.scaler if engine.amp else None
        (scaler.scale(loss) if scaler is not None else loss).backward()
        engine.fire_event(IterationEvents.BACKWARD_COMPLETED)
        if scaler is None:
            engine.optimizer.step()
        else:
            scaler.step(engine.optimizer)
            scaler.update()
