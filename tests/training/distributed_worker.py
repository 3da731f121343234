"""One rank of `test_distributed.py`: trains for two epochs and leaves what it ended with."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import distributed
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

from imaseg import IMA, L2, TRADES, DiceBelow, FreeTraining, PGDTraining
from imaseg.training import MarginTable
from tests.attacks.models import trained_model

METHODS = {
    "ima": lambda: IMA(cross_entropy, L2(8.0), increment=2.0, steps=3, criterion=DiceBelow(0.9), fewest_steps=1),
    "pgd": lambda: PGDTraining(cross_entropy, L2(1.0), steps=2),
    "free": lambda: FreeTraining(cross_entropy, L2(1.0), replays=2),
    "trades": lambda: TRADES(cross_entropy, L2(1.0), steps=2),
}


def main(out: Path) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    rank = distributed.get_rank()
    noted, passes = [], []
    record = MarginTable.record
    MarginTable.record = lambda table, *visit: noted.append(visit) or record(table, *visit)
    left = {}
    for name, make in METHODS.items():
        network, image, label = trained_model()
        network.train()
        count = network.register_forward_hook(lambda *_: passes.append(1))
        model, method = DistributedDataParallel(network), make()
        optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
        # Both ranks see case 3; case 7 is new in the second epoch; rank 1's are harder, so that it searches less.
        for share in ([[0, 1, 2, 3], [4, 5, 6, 3]], [[0, 4, 2, 3], [7, 5, 6, 3]]):
            index = share[rank]
            noise = torch.randn(4, 1, 16, 16, generator=torch.Generator().manual_seed(rank)) * rank
            optimizer.zero_grad()
            method(model, image[index] + noise, label[index], [f"case {i}" for i in index]).backward()
            optimizer.step()
            method.end_epoch()
        count.remove()
        left[name] = {key: value.clone() for key, value in network.state_dict().items()}
        if name == "ima":
            left["table"], left["visits"], left["passes"] = method.table.state_dict(), list(noted), len(passes)
    torch.save(left, out / f"rank{rank}.pt")
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
