"""A training method inside MONAI's own trainer: events, handlers, checkpoints, AMP."""

from __future__ import annotations

import pytest
import torch
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from monai.handlers import CheckpointSaver, StatsHandler, from_engine
from monai.losses import DiceCELoss

from imaseg import IMA, L2, Standard
from imaseg.integrations.monai import RobustIteration

LOSS = DiceCELoss(softmax=True, to_onehot_y=True)


def _loader():
    generator = torch.Generator().manual_seed(0)
    items = [
        {
            "image": torch.randn(1, 8, 8, 8, generator=generator),
            "label": torch.randint(2, (1, 8, 8, 8), generator=generator),
            "id": f"case_{i}",
        }
        for i in range(4)
    ]
    return DataLoader(Dataset(items), batch_size=2, shuffle=False)


def _network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return torch.nn.Conv3d(1, 2, 3, padding=1)


def _trainer(network, method=None, epochs=2, **arguments):
    iteration = None if method is None else RobustIteration(method)
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=epochs,
        train_data_loader=_loader(),
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.1),
        loss_function=LOSS,
        iteration_update=iteration,
        **arguments,
    )
    if iteration is not None:
        iteration.attach(trainer)
    return trainer


def test_standard_training_equals_monais_own_iteration():
    ours, theirs = _network(), _network()
    _trainer(ours, Standard(LOSS)).run()
    _trainer(theirs).run()
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


def test_events_fire_once_per_iteration_and_epochs_end():
    method = IMA(LOSS, L2(0.2, unit="rms"), steps=2)
    trainer = _trainer(_network(), method, epochs=3)
    fired = []
    for event in (
        IterationEvents.FORWARD_COMPLETED,
        IterationEvents.LOSS_COMPLETED,
        IterationEvents.BACKWARD_COMPLETED,
        IterationEvents.MODEL_COMPLETED,
    ):
        trainer.add_event_handler(event, lambda _, name=event: fired.append(name))
    StatsHandler(output_transform=from_engine(["loss"], first=True)).attach(trainer)
    trainer.run()
    assert len(fired) == 4 * 3 * 2
    assert set(method.margins) == {f"case_{i}" for i in range(4)}
    assert method.last_epoch["cases"] == 4.0


def test_checkpoint_saver_takes_the_method_along(tmp_path):
    network, method = _network(), IMA(LOSS, L2(0.2, unit="rms"), steps=2)
    trainer = _trainer(network, method)
    CheckpointSaver(str(tmp_path), {"net": network, "ima": method}, save_final=True).attach(trainer)
    trainer.run()
    (path,) = tmp_path.glob("*.pt")
    other = IMA(LOSS, L2(0.2, unit="rms"), steps=2)
    other.load_state_dict(torch.load(path, weights_only=True)["ima"])
    assert other.margins == method.margins


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_mixed_precision_trains_on_finite_losses(dtype):
    network = _network()
    seen = []
    trainer = _trainer(network, IMA(LOSS, L2(0.2, unit="rms"), steps=2), amp=True, amp_kwargs={"dtype": dtype})
    trainer.add_event_handler(IterationEvents.LOSS_COMPLETED, lambda engine: seen.append(engine.state.output["loss"]))
    trainer.run()
    assert len(seen) == 4
    assert all(torch.isfinite(loss) for loss in seen)
