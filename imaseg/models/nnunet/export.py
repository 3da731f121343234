"""Writes a results folder that stock nnU-Net loads without imaseg and that holds data only, no code."""

from __future__ import annotations

import contextlib
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from imaseg.data.files import occupied, whole_file
from imaseg.errors import InputError
from imaseg.models.nnunet.checkpoint import read_checkpoint
from imaseg.models.nnunet.folder import FINAL, ResultsFolder
from imaseg.models.nnunet.network import STOCK, build_network
from imaseg.models.nnunet.plans import Plans

_COPIED = ("plans.json", "dataset.json", "dataset_fingerprint.json")


def export_nnunet(text: str, out: Path, *, trust: bool = False) -> list[Path]:
    """Write a model folder for `nnUNetv2_predict_from_modelfolder`.

    Each `fold_*/checkpoint_final.pth` names the stock trainer and holds the weights and what prediction needs, as
    tensors, numbers and names, so that `torch.load(..., weights_only=True)` reads it. Optimiser and log stay behind.

    Args:
        text: as `imaseg.models.nnunet.load_nnunet` takes it.
        out: folder to write, new or empty.
        trust: whether checkpoints that hold more than data may be read.

    Returns:
        The files written.

    Raises:
        OutputError: if it cannot be written; what was written of it is deleted.
        InputError: if there is no such model, its network is not the one that the plans describe, or `out` is taken.
    """
    folder = ResultsFolder.parse(text)
    if occupied(out):
        msg = f"{out} must be a new or empty folder, got one with content. Name another."
        raise InputError(msg)
    checkpoints = {}
    for fold in folder.folds:
        checkpoint = replace(read_checkpoint(folder.file(fold), trust=trust), trainer=STOCK)
        plans = Plans.read(folder.path, checkpoint.configuration, trust=trust)
        build_network(plans, checkpoint)
        checkpoints[fold] = {
            "network_weights": {name: tensor.detach().contiguous() for name, tensor in checkpoint.weights.items()},
            "trainer_name": STOCK,
            "init_args": {
                "plans": plans.manager.plans,
                "configuration": checkpoint.configuration,
                "fold": fold if fold == "all" else int(fold),
                "dataset_json": plans.dataset,
            },
            "inference_allowed_mirroring_axes": checkpoint.mirror_axes or None,
        }
    copied = [name for name in _COPIED if (folder.path / name).is_file()]
    made = [out / f"fold_{fold}" / FINAL for fold in checkpoints] + [out / name for name in copied]
    try:
        for path, content in zip(made, checkpoints.values(), strict=False):
            _save(content, path)
        for name in copied:
            with whole_file(out / name) as part:
                part.write_bytes((folder.path / name).read_bytes())
    except BaseException:
        _forget(out, made)
        raise
    return made


def _save(content: dict[str, Any], path: Path) -> None:
    packed = io.BytesIO()
    torch.save(content, packed)
    with whole_file(path) as part:
        part.write_bytes(packed.getbuffer())


def _forget(out: Path, made: list[Path]) -> None:
    """Take away the files of an export that did not come to its end, and the folders that are empty then."""
    for path in made:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
    for folder in (*{path.parent for path in made} - {out}, out):
        with contextlib.suppress(OSError):
            folder.rmdir()
