"""Where nnU-Net finds imaseg's trainers; needs nothing installed."""

from __future__ import annotations

from pathlib import Path


def external() -> Path:
    """The folder for `nnUNet_extTrainer`."""
    return Path(__file__).resolve().parent / "external"
