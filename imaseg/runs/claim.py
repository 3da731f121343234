"""Whose folder is this: a new run's, the same run's to go on with, or somebody else's."""

from __future__ import annotations

from pathlib import Path

import yaml

from imaseg.data.files import occupied, read_json, sweep, whole_file
from imaseg.errors import InputError
from imaseg.models.run_folder import CARD
from imaseg.models.segmentation import ModelCard
from imaseg.runs.config import TrainConfig


def claim(out: Path, config: TrainConfig, card: ModelCard, *, resume: bool) -> None:
    """Make `out` this run's folder, without touching another run.

    Raises:
        InputError: if it holds something else, a run while `resume` is off, or a run with other settings or data.
    """
    path = out / "config.yaml"
    if not path.is_file():
        if occupied(out):
            msg = f"{out} must be a new or empty folder, got one with other content. Name another --out."
            raise InputError(msg)
        with whole_file(path) as part:
            part.write_text(yaml.safe_dump(config.model_dump(), sort_keys=False))
        return
    if not resume:
        msg = f"{out} must be a new folder, got one with a run in it. Add --resume, or name another --out."
        raise InputError(msg)
    _same(out, "settings", yaml.safe_load(path.read_text()), config.model_dump())
    if (out / CARD).is_file():
        _same(out, "data", read_json(out / CARD), card.model_dump(mode="json"))
    sweep(out)


def _same(out: Path, what: str, before: dict[str, object], now: dict[str, object]) -> None:
    changed = [key for key in now if now[key] != before.get(key)]
    if changed:
        msg = f"{out} must go on with the {what} it was started with, got another {changed[0]}. Name another --out."
        raise InputError(msg)
