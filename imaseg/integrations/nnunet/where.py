"""Locates imaseg's nnU-Net trainers; needs nothing to be installed."""

from __future__ import annotations

from pathlib import Path


def external() -> Path:
    """Return the folder that nnUNet_extTrainer must be set to."""
    return Path(__file__).resolve().parent / "external"
