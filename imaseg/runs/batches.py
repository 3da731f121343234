"""Training batches: volumes with random augmentation that depends on seed, epoch and case alone.

Since no random state runs on from one item to the next, an interrupted run continues exactly, with any number of
workers.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from monai.data import CacheDataset, DataLoader
from monai.data import Dataset as ReadDataset
from monai.transforms import (
    Compose,
    EnsureChannelFirstd,
    LoadImaged,
    SpatialPadd,
    ToTensord,
    Transform,
)
from torch.utils.data import Dataset, Sampler

from imaseg.data import Case, CaseSet
from imaseg.perturbations import near
from imaseg.ranks import rank, world
from imaseg.runs.augmentation import ALL, augmentation
from imaseg.runs.config import TrainConfig

_BOTH = ["image", "label"]
_KEPT = [*ALL, "id"]


class EpochSampler(Sampler[tuple[int, int]]):
    """Yields (epoch, index) in an order that depends on seed and epoch alone, divided among the processes.

    Every process gets equally many: the last round is filled up with the first cases of the epoch.

    Args:
        length: number of cases.
        seed: seed of the order.
        start: epoch that the first pass counts as.
        rank, ranks: index of this process, and number of processes.
    """

    def __init__(self, length: int, *, seed: int, start: int = 0, rank: int = 0, ranks: int = 1) -> None:
        self.length, self.seed, self.epoch, self.rank, self.ranks = length, seed, start, rank, ranks

    def __len__(self) -> int:
        return -(-self.length // self.ranks)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch = self.epoch
        self.epoch += 1
        order = np.random.default_rng([self.seed, epoch]).permutation(self.length)
        mine = np.resize(order, len(self) * self.ranks)[self.rank :: self.ranks]
        return iter([(epoch, int(index)) for index in mine])


class SeededDataset(Dataset[dict[str, Any]]):
    """Applies random transforms with a generator seeded by seed, epoch and index.

    Args:
        data: dataset of items ready for augmentation.
        transform: random transforms.
        seed: seed of all transforms.
    """

    def __init__(self, data: Dataset[Any], transform: Compose, *, seed: int) -> None:
        self.data, self.transform, self.seed = data, transform, seed

    def __len__(self) -> int:
        return len(self.data)  # type: ignore[arg-type]

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        epoch, index = key
        state = np.random.default_rng([self.seed, epoch, index]).integers(2**31)
        self.transform.set_random_state(seed=int(state))
        # MONAI's transforms note themselves in lists beside the arrays. Those of the cache would grow with every visit,
        # and cases that were visited unequally often, as under `torchrun`, would not fit into one batch.
        item = self.data[index]
        done = self.transform({name: item[name] for name in _KEPT})
        done = done[0] if isinstance(done, list) else done  # a crop that could give several
        return {name: done[name] for name in _KEPT}


def training_loader(cases: CaseSet, config: TrainConfig, *, start: int, hold: bool = True) -> DataLoader:
    """Loader of batches with keys image (B, C, *patch), label, inside (B, 1, *patch) and id, from epoch `start` on.

    `inside` is 1 on what may be perturbed: the image, or what of it lies near a structure; 0 on padding.

    Args:
        cases: prepared cases with labels.
        config: settings.
        start: first epoch.
        hold: keep what was read in memory, or read it for each batch.
    """
    data = _data(cases, _reading(config), hold=hold)
    seeded = SeededDataset(data, Compose(augmentation(config, cases.labels)), seed=config.seed)
    return DataLoader(
        seeded,
        batch_size=config.batch_size,
        sampler=EpochSampler(len(data), seed=config.seed, start=start, rank=rank(), ranks=world()),
        num_workers=min(config.workers, len(seeded)),  # more have nothing to do
        # Without its own generator the loader moves the global one, differently with and without workers.
        generator=torch.Generator().manual_seed(config.seed),
        persistent_workers=config.workers > 0,
    )


def monitor_loader(cases: CaseSet, *, within: float | None = None, hold: bool = True) -> DataLoader:
    """Loader of whole cases, one at a time, with the same keys.

    Args:
        cases: prepared cases with labels.
        within: `inside` is what lies so near to a structure (mm); None for all.
        hold: as in `training_loader`.
    """
    return DataLoader(_data(cases, _whole(within), hold=hold), batch_size=1)


def _data(cases: CaseSet, transforms: list[Transform], *, hold: bool) -> CacheDataset | ReadDataset:
    items = [_item(case) for case in cases]
    return CacheDataset(items, Compose(transforms), progress=False) if hold else ReadDataset(items, Compose(transforms))


def _item(case: Case) -> dict[str, Any]:
    return {"image": [str(path) for path in case.image], "label": str(case.label), "id": case.id}


def _reading(config: TrainConfig) -> list[Transform]:
    return [*_whole(config.within), SpatialPadd(ALL, config.patch)]


def _whole(within: float | None) -> list[Transform]:
    return [
        LoadImaged(_BOTH, image_only=True),
        EnsureChannelFirstd(_BOTH),
        _Inside(within),
        ToTensord(ALL, track_meta=False),
    ]


class _Inside(Transform):
    """Marks what may change, before padding: the image, or what of it lies so near to a structure (mm).

    Args:
        within: distance in mm; None for all.
    """

    def __init__(self, within: float | None) -> None:
        self.within = within

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        label = torch.as_tensor(np.asarray(item["label"][:1]))
        inside = torch.ones_like(label, dtype=torch.uint8)
        if self.within is not None:
            spacing = np.linalg.norm(np.asarray(item["label"].affine)[:3, :3], axis=0).tolist()
            if not bool((label > 0).any()):
                warnings.warn(f"{item['id']} has no labelled structure: all of it may be perturbed.", stacklevel=2)
            inside = near(label, self.within, spacing)[0].to(torch.uint8)
        return {**item, "inside": inside}


def held_out(ids: list[str], share: float, seed: int) -> tuple[list[str], list[str]]:
    """Split ids into (train, monitor): at least one of each if share is positive and two cases exist."""
    if share == 0 or len(ids) < 2:
        return ids, []
    order = np.random.default_rng(seed).permutation(len(ids))
    chosen = {int(index) for index in order[: min(len(ids) - 1, max(1, round(share * len(ids))))]}
    keep = [name for index, name in enumerate(ids) if index not in chosen]
    return keep, [name for index, name in enumerate(ids) if index in chosen]


def seed_everything(seed: int, epoch: int) -> None:
    """Seed torch's generators for one epoch, so that dropout too depends on seed, epoch and process alone."""
    own = [rank()] if rank() else []
    torch.manual_seed(int(np.random.default_rng([seed, epoch, *own]).integers(2**31)))
