"""The network that a run monitors and saves, where it is not the one in training: a running mean of its weights.

    w <- d w + (1 - d) (weights after the step),   d = min(ema, (1 + n) / (10 + n)),   n the steps so far

so that the first epochs do not hang on to the initial weights. Buffers are those of the network in training; with
`clean_statistics` those of BatchNorm are estimated anew after each epoch, since in training they are of clean and
perturbed images, and of other weights than the mean.
"""

from __future__ import annotations

from monai.data import DataLoader
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

from imaseg.errors import InputError
from imaseg.models.segmentation import SegmentationModel
from imaseg.runs.batches import EpochSampler
from imaseg.runs.config import TrainConfig

Tensors = tuple[Tensor, ...] | list[Tensor]


def kept_network(network: nn.Module, config: TrainConfig) -> AveragedModel | None:
    """What is kept of a network; None for the network itself.

    Raises:
        InputError: if statistics of BatchNorm are asked for and it has none.
    """
    if config.clean_statistics and not any(isinstance(part, _BatchNorm) for part in network.modules()):
        msg = (
            f"{config.where}clean_statistics must go with a network that has BatchNorm, got {config.network['name']} "
            "without. Leave it out."
        )
        raise InputError(msg)
    if config.ema is None and not config.clean_statistics:
        return None
    largest = config.ema or 0.0

    def average(means: Tensors, weights: Tensors, count: Tensor | int) -> None:
        steps = int(count)
        get_ema_multi_avg_fn(min(largest, (1 + steps) / (10 + steps)))(means, weights, count)

    return AveragedModel(network, multi_avg_fn=average)


def estimate_statistics(model: SegmentationModel, loader: DataLoader, config: TrainConfig, epoch: int) -> None:
    """Estimate BatchNorm's statistics of a model by one pass over the clean training batches of an epoch."""
    sampler = EpochSampler(len(loader.dataset), seed=config.seed, start=epoch)
    batches = DataLoader(loader.dataset, batch_size=config.batch_size, sampler=sampler)
    update_bn((batch["image"] for batch in batches), model, next(model.parameters()).device)
