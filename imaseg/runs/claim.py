"""Checks whether a run may write to a folder: a new one, or that of the same run to be resumed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from imaseg.data.files import occupied, sole_writer, sweep, whole_file
from imaseg.data.plain import read_json
from imaseg.data.preparation.recipe import parse_recipe
from imaseg.data.yaml_file import read_yaml
from imaseg.errors import InputError
from imaseg.models.run_folder import CARD
from imaseg.models.segmentation import ModelCard
from imaseg.runs.config import TrainConfig
from imaseg.validated import validated

CONFIG = "config.yaml"
_LOCK = ".lock"
_OLDER: dict[str, object] = {"foreground": 0.0, "flip": ["x"]}
"""What runs did that do not say."""
_FREE = ("workers", "cache")
"""Settings that change nothing in the result, so that a run killed for want of memory can go on with less."""


def claim(out: Path, config: TrainConfig, card: ModelCard, *, resume: bool, dry_run: bool = False) -> None:
    """Make `out` the folder of this run, without overwriting another run; a dry run only looks whether it could be.

    Raises:
        InputError: if its name is no text, or it holds something else, a run while `resume` is off, or a run with
            other settings or data.
    """
    if str(out).encode("utf-8", "replace").decode() != str(out):
        msg = (
            f"{out} must be a name in UTF-8, since TensorBoard writes to no other, got other bytes. Name another --out."
        )
        raise InputError(msg)
    path = out / CONFIG
    if not path.is_file():
        if occupied(out):
            msg = f"{out} must be a new or empty folder, got one with other content. Name another --out."
            raise InputError(msg)
        if not dry_run:
            with whole_file(path) as part:
                part.write_text(yaml.safe_dump(config.model_dump(), sort_keys=False))
        return
    if not resume:
        msg = f"{out} must be a new folder, got one with a run in it. Add --resume, or name another --out."
        raise InputError(msg)
    # Runs of earlier versions lack newer keys.
    before_settings = validated(TrainConfig, _OLDER | read_yaml(path), source=str(path))
    _same(out, "settings", before_settings.model_dump(exclude=set(_FREE)), config.model_dump(exclude=set(_FREE)))
    if (out / CARD).is_file():
        before = validated(ModelCard, read_json(out / CARD), source=str(out / CARD))
        _same(out, "data", _whole(before, source=str(out / CARD)), _whole(card, source=str(out / CARD)))


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """Keep other processes from the run in `out` while the block runs; first remove what a killed one left.

    Raises:
        InputError: if another process trains there.
    """
    with sole_writer(out / _LOCK):
        sweep(out)
        try:
            yield
        finally:
            shutil.rmtree(out / _LOCK, ignore_errors=True)


def _whole(card: ModelCard, *, source: str) -> dict[str, object]:
    """The card with all keys of its recipe filled in, since runs of earlier versions lack newer keys."""
    recipe = None if card.recipe is None else parse_recipe(card.recipe, source=source).model_dump(mode="json")
    return card.model_dump(mode="json") | {"recipe": recipe}


def _same(out: Path, what: str, before: dict[str, object], now: dict[str, object]) -> None:
    changed = [key for key in now if now[key] != before.get(key)]
    if changed:
        msg = (
            f"{out} must be resumed with the {what} it was started with, got another {changed[0]}. Name another --out."
        )
        raise InputError(msg)
