"""A training method inside MONAI's own trainer: events, handlers, checkpoints, AMP."""

from __future__ import annotations

import csv
import logging

import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from monai.handlers import CheckpointSaver, StatsHandler, from_engine
from monai.losses import DeepSupervisionLoss, DiceCELoss
from monai.networks.nets import DynUNet, SegResNet, SwinUNETR, UNet

from imaseg import IMA, L2, FreeTraining, Standard
from imaseg.integrations.monai import MarginHandler, RobustIteration, deep_supervision

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


@pytest.mark.parametrize("accumulation", [1, 2, 3])
def test_gradients_accumulate_as_in_monai(accumulation):
    ours, theirs = _network(), _network()
    _trainer(ours, Standard(LOSS), epochs=3, accumulation_steps=accumulation).run()
    _trainer(theirs, epochs=3, accumulation_steps=accumulation).run()
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


def test_batches_are_replayed_as_often_as_the_method_asks():
    network, steps = _network(), []
    trainer = _trainer(network, FreeTraining(LOSS, L2(0.2, unit="rms"), replays=3), epochs=2)
    trainer.optimizer.register_step_post_hook(lambda *_: steps.append(1))
    trainer.run()
    assert len(steps) == 3 * 2 * 2
    assert trainer.state.iteration == 4


def test_replays_and_accumulation_do_not_go_together():
    trainer = _trainer(_network(), FreeTraining(LOSS, L2(0.2, unit="rms"), replays=3), accumulation_steps=2)
    with pytest.raises(ValueError, match="accumulation_steps must be 1 where batches are replayed, got 2"):
        trainer.run()


def test_prepare_batch_of_the_user_is_used():
    seen = []

    def prepare_batch(batch, device, non_blocking, **_):
        seen.append(batch["id"])
        return batch["image"] * 2, batch["label"]

    method = IMA(LOSS, L2(0.2, unit="rms"), steps=2)
    _trainer(_network(), method, epochs=1, prepare_batch=prepare_batch).run()
    assert [name for ids in seen for name in ids] == sorted(method.margins)
    trainer = _trainer(_network(), method, prepare_batch=lambda batch, *_, **__: (batch["image"], batch["label"], 1))
    with pytest.raises(ValueError, match=r"prepare_batch must give \(image, label\), got 3 parts"):
        trainer.run()


def test_ids_come_from_metatensors_where_the_batch_has_none():
    items = [
        {"image": MetaTensor(torch.randn(1, 8, 8, 8), meta={"filename_or_obj": f"/data/{i}.nii.gz"}),
         "label": torch.ones(1, 8, 8, 8)} for i in range(2)
    ]  # fmt: skip
    method = IMA(LOSS, L2(0.2, unit="rms"), steps=2)
    trainer = _trainer(_network(), method, epochs=1)
    trainer.state.dataloader = trainer.data_loader = DataLoader(Dataset(items), batch_size=2)
    trainer.run()
    assert set(method.margins) == {"/data/0.nii.gz", "/data/1.nii.gz"}


def test_epochs_end_before_handlers_that_were_attached_first(tmp_path):
    """A checkpoint that was written before the margins moved would lose one step of them on resuming."""
    method = IMA(LOSS, L2(0.2, unit="rms"), steps=2)
    seen = []

    class Early:
        def attach(self, engine):
            engine.add_event_handler("EPOCH_COMPLETED", lambda _: seen.append(method.state_dict()["table"]["visits"]))

    _trainer(_network(), method, train_handlers=[Early()]).run()
    assert seen == [{}, {}]


def test_loaders_without_a_length_end_their_epochs_too():
    method = IMA(LOSS, L2(0.2, unit="rms"), steps=2)
    trainer = _trainer(_network(), method, epochs=2)
    batches = list(trainer.data_loader)

    class Stream:
        def __iter__(self):
            return iter(batches)

    trainer.data_loader = trainer.state.dataloader = Stream()
    trainer.state.epoch_length = None
    trainer.run()
    assert method.last_epoch["cases"] == 4.0
    assert [visits for visits, _ in method.table.counts.values()] == [2] * 4


def test_margins_are_logged_as_line_trajectory_and_histogram(tmp_path, caplog):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    method = IMA(LOSS, L2(0.2, unit="rms"), steps=2)
    with SummaryWriter(str(tmp_path / "board")) as writer, caplog.at_level(logging.INFO, "imaseg"):
        handler = MarginHandler(method, file=tmp_path / "margins.csv", writer=writer)
        _trainer(_network(), method, epochs=3, train_handlers=[handler]).run()
    assert [text.partition(":")[0] for text in caplog.messages] == ["epoch 1", "epoch 2", "epoch 3"]
    rows = list(csv.DictReader((tmp_path / "margins.csv").open()))
    assert [(row["epoch"], row["case"]) for row in rows] == [(str(e), f"case_{i}") for e in (1, 2, 3) for i in range(4)]
    assert {row["case"]: float(row["margin"]) for row in rows[-4:]} == method.margins
    assert [row["visits"] for row in rows] == ["1"] * 4 + ["2"] * 4 + ["3"] * 4
    board = EventAccumulator(str(tmp_path / "board"), size_guidance={"histograms": 0}).Reload()
    assert [event.histogram_value.num for event in board.Histograms("margins")] == [4.0] * 3
    logged = [event.value for event in board.Scalars("margins/mean_margin")]
    assert logged[-1] == pytest.approx(sum(method.margins.values()) / 4)


def test_trajectories_of_a_resumed_run_replace_what_is_repeated(tmp_path):
    method = IMA(LOSS, L2(0.2, unit="rms"), steps=2)
    handler = MarginHandler(method, file=tmp_path / "margins.csv")
    for epochs in (3, 2):
        _trainer(_network(), method, epochs=epochs, train_handlers=[handler]).run()
    rows = list(csv.DictReader((tmp_path / "margins.csv").open()))
    assert [row["epoch"] for row in rows] == ["1"] * 4 + ["2"] * 4
    assert {row["visits"] for row in rows} == {"4", "5"}


@pytest.mark.parametrize("stacked", [False, True])
def test_deep_supervision_weighs_the_heads_as_monai_does(stacked):
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(2, (2, 1, 8, 8, 8), generator=generator)
    sides = (8, 8) if stacked else (8, 4)
    heads = [torch.randn(2, 2, side, side, side, generator=generator) for side in sides]
    loss = deep_supervision(LOSS, weights=[1.0, 0.25])
    expected = DeepSupervisionLoss(LOSS, weights=[1.0, 0.25])(heads, label.float())
    torch.testing.assert_close(loss(torch.stack(heads, 1) if stacked else heads, label), expected)
    assert torch.equal(loss(heads[0], label), LOSS(heads[0], label))


NETWORKS = {
    "unet": lambda: UNet(3, 1, 2, channels=(4, 8), strides=(2,), norm="batch"),
    "dynunet": lambda: DynUNet(
        3, 1, 2, kernel_size=[3, 3, 3], strides=[1, 2, 2], upsample_kernel_size=[2, 2], filters=[4, 8, 8],
        deep_supervision=True, deep_supr_num=1,
    ),
    "segresnet": lambda: SegResNet(3, init_filters=8, in_channels=1, out_channels=2, blocks_down=(1, 1), blocks_up=(1,),
                                   num_groups=2, dropout_prob=0.1),
    "swinunetr": lambda: SwinUNETR(1, 2, feature_size=12, depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 2), window_size=4),
}  # fmt: skip


def _phantoms(*size):
    label = torch.zeros(4, 1, *size)
    label[:, :, *(slice(side // 4, -side // 4) for side in size)] = 1
    image = label + 0.3 * torch.randn(label.shape, generator=torch.Generator().manual_seed(0))
    items = [{"image": image[i], "label": label[i], "id": f"case_{i}"} for i in range(4)]
    return DataLoader(Dataset(items[:2] if max(size) > 16 else items), batch_size=2)


@pytest.mark.parametrize("name", NETWORKS)
def test_these_networks_train_with_ima(name):
    if name == "swinunetr":
        pytest.importorskip("einops", reason="MONAI's SwinUNETR needs einops, a dependency of imaseg")
    size = (64, 32, 32) if name == "swinunetr" else (16, 16, 16)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = NETWORKS[name]()
        method = IMA(deep_supervision(LOSS), L2(0.5, unit="rms"), steps=2, fewest_steps=1, bisections=2)
        losses, iteration = [], RobustIteration(method)
        trainer = SupervisedTrainer(
            device=torch.device("cpu"), max_epochs=3 if name == "swinunetr" else 10, network=network,
            train_data_loader=_phantoms(*size), loss_function=method.loss,
            optimizer=torch.optim.Adam(network.parameters(), lr=0.01), iteration_update=iteration,
        )  # fmt: skip
        iteration.attach(trainer)
        trainer.add_event_handler(
            IterationEvents.LOSS_COMPLETED, lambda e: losses.append(float(e.state.output["loss"]))
        )
        trainer.run()
    assert losses[-1] < 0.95 * losses[0]
    assert len(method.margins) == (2 if name == "swinunetr" else 4)
