"""`load_model(spec)`: the one door for checkpoints."""

from __future__ import annotations

from pathlib import Path

from imaseg.errors import InputError
from imaseg.models.run_folder import CARD, load_run_model
from imaseg.models.segmentation import SegmentationModel

_NNUNET = "nnunet:"


def load_model(spec: str | Path, *, trust: bool = False) -> SegmentationModel:
    """Load a segmenter.

    Args:
        spec: a folder that `imaseg train` wrote; or `nnunet:DIR`, a results folder of nnU-Net v2, with `@FOLD` for one
            fold of it (all of them as an ensemble without, or with `@all`), and `/CHECKPOINT` after the fold for
            another checkpoint than the final one.
        trust: whether code that comes with a checkpoint may be run. Everything else is read as data.

    Returns:
        The model in eval mode, on the CPU.

    Raises:
        InputError: if there is no model at `spec`, it cannot be read, or it needs trust.
    """
    if str(spec).startswith(_NNUNET):
        from imaseg.models.nnunet import load_nnunet

        return load_nnunet(str(spec).removeprefix(_NNUNET), trust=trust).eval()
    folder = Path(spec)
    if not folder.is_dir():
        msg = f"model must be a folder that `imaseg train` wrote, or nnunet:DIR, got {str(spec)!r}, which is no folder."
        raise InputError(msg)
    if not (folder / CARD).is_file():
        hint = f"Load it as nnunet:{folder}." if (folder / "plans.json").is_file() else "Has its first epoch ended?"
        msg = f"{folder} must be a folder that `imaseg train` wrote, got one without {CARD}. {hint}"
        raise InputError(msg)
    return load_run_model(folder).eval()
