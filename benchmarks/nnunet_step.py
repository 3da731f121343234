"""What a robust step costs inside nnU-Net, next to a stock one: CPU time and passes of the network.

    python benchmarks/nnunet_step.py OUT

OUT is where `benchmarks/nnunet_hippocampus.py` has planned and preprocessed. The trainers step in turn on the same
batches, so that a busy machine slows them alike; CPU time is counted, of one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch
import yaml
from nnunet_hippocampus import CONFIGURATION, DATASET, PLANS, use_folders

METHODS = {
    "stock": None,
    "nnUNetTrainerStandard": {},
    "nnUNetTrainerPGD": {"steps": 8},
    "nnUNetTrainerIMA": {"steps": 8, "increment": 0.1, "criterion": {"name": "voxels-flipped", "fraction": 0.99}},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=1, help="times that stock and Standard are compared per batch")
    options = parser.parse_args()
    torch.set_num_threads(1)
    out = options.out.resolve()
    use_folders(out)
    os.environ["nnUNet_results"] = str(out / "step")  # noqa: SIM112 (so nnU-Net spells it)
    trainers = {name: trainer_of(name, out) for name in METHODS}
    trainers["stock"].on_train_start()
    batches = [next(trainers["stock"].dataloader_train) for _ in range(options.batches)]
    seconds: dict[str, list[float]] = {name: [] for name in METHODS}
    passes = {name: count_passes(trainer) for name, trainer in trainers.items()}
    for batch in batches:
        for name in ("stock", "nnUNetTrainerStandard") * options.rounds + tuple(METHODS)[2:]:
            begin = time.process_time()
            trainers[name].train_step(batch)
            seconds[name].append(time.process_time() - begin)
    base = statistics.median(seconds["stock"])
    steps = {name: len(times) for name, times in seconds.items()}
    print("| trainer | CPU time of a step, stock = 1 | forward passes | of them with gradient of the image |")
    print("| --- | --- | --- | --- |")
    for name, times in seconds.items():
        counted = [passes[name][kind] / steps[name] for kind in ("forward", "image")]
        print(f"| {name} | {statistics.median(times) / base:.3f} | {counted[0]:.2f} | {counted[1]:.2f} |")
    paired = [one / other for one, other in zip(seconds["nnUNetTrainerStandard"], seconds["stock"], strict=True)]
    print(f"Standard / stock, paired by batch: median {statistics.median(paired):.4f}, n = {len(paired)}")


def trainer_of(name: str, out: Path) -> Any:
    """A trainer on the tiny plan, with the same weights as every other."""
    folder = out / "preprocessed" / DATASET
    plans = json.loads((folder / f"{PLANS}.json").read_text()) | {"continue_training": False}
    arguments = (plans, CONFIGURATION, 0, json.loads((folder / "dataset.json").read_text()), torch.device("cpu"))
    torch.manual_seed(0)
    if name == "stock":
        from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

        trainer = nnUNetTrainer(*arguments)
    else:
        from imaseg.integrations.nnunet import trainers

        path = out / "step.yaml"
        path.write_text(yaml.safe_dump({"method": METHODS[name], "seed": 0}))
        os.environ["IMASEG_CONFIG"] = str(path)
        trainer = getattr(trainers, name)(*arguments)
    trainer.initialize()
    return trainer


def count_passes(trainer: Any) -> Counter[str]:
    """Counts forward passes of the trainer's network, and those through which a gradient of the image is asked for."""
    counted: Counter[str] = Counter()

    def note(_: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        counted["forward"] += 1
        counted["image"] += given[0].requires_grad

    trainer.network.register_forward_pre_hook(note)
    return counted


if __name__ == "__main__":
    main()
