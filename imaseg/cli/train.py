"""`imaseg train`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer

from imaseg.runs import load_config
from imaseg.runs import train as run


def train(config: Path, data: Path, out: Path, overrides: Sequence[str], *, resume: bool) -> None:
    """Train a model and print the paths of the files written."""
    settings = load_config(config, overrides)
    run(settings, data, out, resume=resume, announce=lambda text: typer.echo(text, err=True))
    for name in ("weights.safetensors", "metrics.csv", "margins.csv", "margin_trajectories.csv"):
        if (out / name).is_file():
            typer.echo(f"Created {out / name}")
