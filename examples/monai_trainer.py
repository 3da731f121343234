"""IMA in MONAI's SupervisedTrainer: events, AMP, accumulation, checkpoints that hold the margins, on one or many GPUs.

    python examples/monai_trainer.py PREPARED OUT [--epochs N]
    torchrun --nproc-per-node 4 examples/monai_trainer.py PREPARED OUT            # four GPUs of one machine
    torchrun --nnodes 2 --nproc-per-node 8 --rdzv-backend c10d --rdzv-endpoint HOST:29500 examples/... PREPARED OUT

PREPARED is what `imaseg prepare` wrote. OUT gets checkpoints, `margins.csv` and TensorBoard files. Without GPUs the
processes talk by gloo. Stopped at any moment, the same command goes on from the last finished epoch.
"""

from __future__ import annotations

import argparse
import os
from contextlib import ExitStack
from pathlib import Path

import torch
from ignite.engine import Events
from monai.data import CacheDataset, DataLoader, DistributedSampler
from monai.engines import SupervisedTrainer
from monai.handlers import CheckpointSaver, LrScheduleHandler, StatsHandler
from monai.losses import DiceCELoss
from monai.networks.nets import DynUNet
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged, RandSpatialCropd, SpatialPadd
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.tensorboard import SummaryWriter

from imaseg import IMA, L2, load_cases
from imaseg.integrations.monai import MarginHandler, RobustIteration, deep_supervision


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prepared", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--patch", type=int, nargs=3, default=[40, 40, 24])
    parser.add_argument("--amp", action="store_true")
    parser.add_argument("--accumulate", type=int, default=1, help="batches per optimiser's step")
    arguments = parser.parse_args()
    device = join()
    torch.manual_seed(0)
    network = DynUNet(
        3, 1, 3, kernel_size=[3, 3, 3], strides=[1, 2, 2], upsample_kernel_size=[2, 2], filters=[8, 16, 32],
        deep_supervision=True, deep_supr_num=1,
    ).to(device)  # fmt: skip
    sampler, loader = batches(arguments.prepared, arguments.patch)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=arguments.epochs)
    ima = IMA(deep_supervision(DiceCELoss(softmax=True, to_onehot_y=True)), L2(0.2, unit="rms"), fewest_steps=2)
    state = {"net": network, "optimizer": optimizer, "schedule": schedule, "ima": ima}
    done = restore(arguments.out, state)
    iteration = RobustIteration(ima)
    trainer = SupervisedTrainer(
        device=device,
        max_epochs=arguments.epochs,
        train_data_loader=loader,
        network=DistributedDataParallel(network) if distributed.is_initialized() else network,
        optimizer=optimizer,
        loss_function=ima.loss,
        iteration_update=iteration,
        amp=arguments.amp,
        accumulation_steps=arguments.accumulate,
        decollate=False,
    )
    iteration.attach(trainer)
    LrScheduleHandler(schedule, print_lr=False).attach(trainer)
    trainer.state.epoch, trainer.state.iteration = done, done * len(loader)
    if sampler is not None:
        trainer.add_event_handler(Events.EPOCH_STARTED, lambda engine: sampler.set_epoch(engine.state.epoch))
    # On every rank: the saver's processes wait for each other, and only the first one writes.
    CheckpointSaver(str(arguments.out), state, save_interval=1, n_saved=1).attach(trainer)
    with ExitStack() as stack:
        if not distributed.is_initialized() or distributed.get_rank() == 0:
            writer = stack.enter_context(SummaryWriter(str(arguments.out / "tensorboard")))
            StatsHandler(output_transform=lambda output: output["loss"]).attach(trainer)
            MarginHandler(ima, file=arguments.out / "margins.csv", writer=writer).attach(trainer)
        if done < arguments.epochs:
            trainer.run()
    if distributed.is_initialized():
        distributed.destroy_process_group()


def join() -> torch.device:
    """This process's device; joins the others where `torchrun` started several."""
    gpu = torch.cuda.is_available()
    if "LOCAL_RANK" not in os.environ:
        return torch.device("cuda" if gpu else "cpu")
    distributed.init_process_group("nccl" if gpu else "gloo")
    if gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    return torch.device("cuda", int(os.environ["LOCAL_RANK"])) if gpu else torch.device("cpu")


def batches(prepared: Path, patch: list[int]) -> tuple[DistributedSampler | None, DataLoader]:
    """Training cases of the cohort, shared out among the processes."""
    both = ["image", "label"]
    transform = Compose(
        [
            LoadImaged(both),
            EnsureChannelFirstd(both),
            SpatialPadd(both, patch),
            RandSpatialCropd(both, patch, random_size=False),
        ]
    )
    items = [
        {"image": str(case.image[0]), "label": str(case.label), "id": case.id}
        for case in load_cases(prepared).part("train")
    ]
    data = CacheDataset(items, transform, progress=False)
    sampler = DistributedSampler(data, shuffle=True) if distributed.is_initialized() else None
    return sampler, DataLoader(data, batch_size=2, sampler=sampler, shuffle=sampler is None)


def restore(out: Path, state: dict[str, nn.Module]) -> int:
    """Take up the newest checkpoint; how many epochs are done."""
    found = sorted(out.glob("*epoch=*.pt"), key=lambda path: int(path.stem.rpartition("=")[2]))
    if not found:
        return 0
    saved = torch.load(found[-1], map_location="cpu", weights_only=True)
    for name, part in state.items():
        part.load_state_dict(saved[name])
    return int(found[-1].stem.rpartition("=")[2])


if __name__ == "__main__":
    main()
