"""Lightning: one callback ends the epochs of a training method and keeps its state in checkpoints.

class Segmenter(lightning.LightningModule):
    def __init__(self, network, method):
        super().__init__()
        self.network, self.method = network, method

    def training_step(self, batch, _):
        return self.method(self.network, batch["image"], batch["label"], batch["id"])

ima = IMA(DiceCELoss(softmax=True, to_onehot_y=True), L2(0.1, unit="rms"))
lightning.Trainer(callbacks=[EndEpochs(ima)]).fit(Segmenter(network, ima), loader)
"""

from __future__ import annotations

from typing import Any

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
except ImportError as error:
    msg = "imaseg.integrations.lightning must find lightning 2.4 or newer, got none. Type: pip install lightning"
    raise ImportError(msg) from error

from imaseg.training import TrainingMethod


class EndEpochs(Callback):
    """Calls `method.end_epoch()` after each epoch of training; checkpoints of the trainer hold the method's state.

    Args:
        method: what `training_step` computes its loss with. One that repeats batches (`FreeTraining`) needs a loop of
            your own.

    Raises:
        ValueError: if the method repeats batches.
    """

    def __init__(self, method: TrainingMethod) -> None:
        if method.replays > 1:
            msg = (
                f"method must take each batch once, got {method.name} with {method.replays} replays. Use pgd-training."
            )
            raise ValueError(msg)
        self.method = method

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Update margins and ramps, on every rank."""
        self.method.end_epoch()

    def state_dict(self) -> dict[str, Any]:
        """Margins, counters and warm starts."""
        return self.method.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.method.load_state_dict(state_dict)
