"""`load_model(spec)`: the one door for checkpoints."""

from __future__ import annotations

from pathlib import Path

from imaseg.errors import InputError
from imaseg.models.run_folder import CARD, load_run_model
from imaseg.models.segmentation import SegmentationModel


def load_model(spec: str | Path) -> SegmentationModel:
    """Load a segmenter.

    Args:
        spec: a folder that `imaseg train` wrote.

    Returns:
        The model in eval mode, on the CPU.

    Raises:
        InputError: if there is no model at `spec` or it cannot be read.
    """
    folder = Path(spec)
    if not folder.is_dir():
        msg = f"model must be a folder that `imaseg train` wrote, got {str(spec)!r}, which is no folder."
        raise InputError(msg)
    if not (folder / CARD).is_file():
        msg = f"{folder} must be a folder that `imaseg train` wrote, got one without {CARD}. Has its first epoch ended?"
        raise InputError(msg)
    return load_run_model(folder).eval()
