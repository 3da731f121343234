"""One rank of a distributed nnU-Net training over gloo: trains, and leaves what it ended with."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from nnunetv2.training.nnUNetTrainer import nnUNetTrainer
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from imaseg.integrations.nnunet.trainers import nnUNetTrainerIMA
from imaseg.training import MarginTable
from tests.nnunet_folder import dataset, plans


def main(out: Path, rank: int) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{out / 'meet'}", rank=rank, world_size=2)
    visits = []
    record = MarginTable.record
    MarginTable.record = lambda table, *visit: visits.append(visit) or record(table, *visit)
    # With several ranks nnU-Net takes CUDA for granted: the device, its scaler, and what DDP is told of it.
    nnUNetTrainer.DDP = lambda network, device_ids: DistributedDataParallel(network)
    plan = plans((16, 12)) | {"continue_training": False}
    trainer = nnUNetTrainerIMA(plan, "2d", 0, dataset(), torch.device("cpu"))
    trainer.device, trainer.grad_scaler = torch.device("cpu"), None
    trainer.run_training()
    left = {"weights": trainer.network.module.state_dict(), "history": trainer.history, "visits": visits}
    torch.save({**left, "table": trainer.method.table.state_dict()}, out / f"rank{rank}.pt")
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
