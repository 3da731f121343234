"""Reads nnU-Net checkpoints as data: tensors, numbers and names; nothing in them is executed.

nnU-Net keeps NumPy numbers in its log, which PyTorch's safe loader refuses. Those few types are let through; a file
that needs anything else is read only with `trust`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from imaseg.models.archive import check_tensors, read_archive
from imaseg.models.nnunet.documents import CheckpointDocument
from imaseg.validated import validated

_WRAPPERS = ("module.", "_orig_mod.")


@dataclass(frozen=True)
class Checkpoint:
    """The content of a checkpoint that prediction needs.

    Attributes:
        path: file it was read from.
        weights: weights of the network, by name.
        trainer: name of the trainer class.
        configuration: configuration of the plans, such as "3d_fullres".
        mirror_axes: axes of the network's input along which nnU-Net mirrors when it predicts.
        method: settings of the training method where imaseg trained it.
    """

    path: Path
    weights: dict[str, Tensor]
    trainer: str
    configuration: str
    mirror_axes: tuple[int, ...]
    method: dict[str, Any] = field(default_factory=dict)


def read_checkpoint(path: Path, *, trust: bool) -> Checkpoint:
    """Read a checkpoint.

    Args:
        path: such as `fold_0/checkpoint_final.pth`.
        trust: whether a file that holds more than data may be read, which executes what its author put into it.

    Raises:
        InputError: if it cannot be read, is no checkpoint of nnU-Net, or needs trust.
    """
    with torch.serialization.safe_globals(_numbers()):
        content = read_archive(path, mend="Only if you trust their author, add --trust.", trust=trust)
    document = validated(CheckpointDocument, content, source=f"{path} must be a checkpoint of nnU-Net v2")
    weights = {_bare(name): tensor for name, tensor in document.network_weights.items()}
    check_tensors(weights, source=str(path))
    return Checkpoint(
        path=path,
        weights=weights,
        trainer=document.trainer_name,
        configuration=document.init_args.configuration,
        mirror_axes=tuple(document.inference_allowed_mirroring_axes or ()),
        method=document.init_args.method,
    )


def _numbers() -> list[Any]:
    """The types that pickled NumPy numbers and arrays need, under the names that NumPy 1 and 2 write."""
    makers: list[Any] = [np.float32(0).__reduce__()[0], np.zeros(1).__reduce__()[0]]
    homes = ("numpy.core.multiarray", "numpy._core.multiarray")
    named = [(maker, f"{home}.{maker.__name__}") for home in homes for maker in makers]
    kinds = [type(np.dtype(kind)) for kind in (np.float16, np.float32, np.float64, np.int32, np.int64, np.bool_)]
    return [np.dtype, np.ndarray, *kinds, *named]


def _bare(name: str) -> str:
    """Name of a weight without the prefixes of DDP and `torch.compile`, in whichever order they were put on."""
    while name.startswith(_WRAPPERS):
        name = name.removeprefix(_WRAPPERS[0]).removeprefix(_WRAPPERS[1])
    return name
