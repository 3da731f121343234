"""`load_model(spec)`: loads a model of any supported kind."""

from __future__ import annotations

from pathlib import Path

from imaseg.data.layouts.prepared import Fingerprint
from imaseg.data.preparation.recipe import parse_recipe
from imaseg.errors import InputError
from imaseg.models.card_file import is_card
from imaseg.models.run_folder import CARD, load_run_model
from imaseg.models.segmentation import SegmentationModel
from imaseg.plugins import plugins
from imaseg.validated import validated

KINDS = ("nnunet", "bundle", "torchscript", "smp", "python")
"""Kinds of models: the prefixes of a specification, before the colon."""


def load_model(spec: str | Path, *, trust: bool = False) -> SegmentationModel:
    """Load a segmentation model from a checkpoint of any supported kind.

    Args:
        spec: a folder that `imaseg train` wrote; or `nnunet:DIR`, a results folder of nnU-Net v2, with `@FOLD` for one
            fold of it (all of them as an ensemble without, or with `@all`), and `/CHECKPOINT` after the fold for
            another checkpoint than the final one; or `bundle:DIR`, `torchscript:FILE`, `smp:DIR`,
            `python:module:factory`, or a card (`CARD.yaml[@WEIGHTS]`) of bare weights: see docs/models.md. Installed
            packages add kinds (docs/plugins.md).
        trust: whether code that comes with a checkpoint may be run. Everything else is read as data.

    Returns:
        The model in eval mode, on the CPU.

    Raises:
        InputError: if there is no model at `spec`, it cannot be read, or it needs trust.
    """
    text = str(spec)
    try:
        model = _load(text, trust=trust)
        if model.card.recipe is not None:
            parse_recipe(dict(model.card.recipe), source="recipe")
        if model.card.fingerprint is not None:
            validated(Fingerprint, model.card.fingerprint, source="fingerprint")
    except InputError as error:
        place = text.removeprefix(f"{text.partition(':')[0]}:" if ":" in text else "").partition("@")[0]
        if place in str(error):
            raise
        msg = f"{text}: {error}"  # whoever raised it knew a part of the model, and not whose
        raise InputError(msg) from error
    return model.eval()


def _load(text: str, *, trust: bool) -> SegmentationModel:
    kind, colon, rest = text.partition(":")
    if colon and kind in KINDS:
        return _by_kind(kind, rest, trust=trust)
    if colon and (load := plugins("imaseg.models").get(kind)) is not None:
        model: SegmentationModel = load(rest, trust=trust)
        return model
    if is_card(text):
        from imaseg.models.card_file import load_card_model

        return load_card_model(text, trust=trust)
    folder = Path(text)
    if not folder.is_dir():
        kinds = ", ".join(f"{kind}:..." for kind in (*KINDS, *plugins("imaseg.models")))
        msg = (
            f"model must be a folder that `imaseg train` wrote, a card (.yaml), or {kinds}"
            f", got {text!r}, which is no folder.{_hint_for_file(folder)}"
        )
        raise InputError(msg)
    if not (folder / CARD).is_file():
        msg = f"{folder} must be a folder that `imaseg train` wrote, got one without {CARD}. {_hint_for(folder)}"
        raise InputError(msg)
    return load_run_model(folder)


def _by_kind(kind: str, rest: str, *, trust: bool) -> SegmentationModel:
    if kind == "nnunet":
        from imaseg.models.nnunet import load_nnunet

        return load_nnunet(rest, trust=trust)
    if kind == "bundle":
        from imaseg.models.bundle import load_bundle

        return load_bundle(rest, trust=trust)
    if kind == "torchscript":
        from imaseg.models.torchscript import load_torchscript

        return load_torchscript(rest, trust=trust)
    if kind == "smp":
        from imaseg.models.smp import load_smp

        return load_smp(rest, trust=trust)
    from imaseg.models.python import load_python

    return load_python(rest, trust=trust)


def _hint_for(folder: Path) -> str:
    """A hint for a folder that is no run folder: how to load what it seems to be."""
    if (folder / "plans.json").is_file():
        return f"Load it as nnunet:{folder}."
    if (folder / "configs" / "metadata.json").is_file():
        return f"Load it as bundle:{folder}."
    if (folder / "config.json").is_file():
        return f"Load it as smp:{folder}."
    weights = sorted(one.name for end in ("pt", "pth", "ckpt", "safetensors") for one in folder.glob(f"*.{end}"))
    if weights and not (folder / "config.yaml").is_file():
        return f"Weights such as {weights[0]} need a card (a YAML file) that names their network: see docs/models.md."
    return "Has its first epoch ended?"


def _hint_for_file(path: Path) -> str:
    """A hint for a file that is no card: how to load what it seems to be."""
    if not path.is_file():
        return ""
    if path.suffix in (".ts", ".jit"):
        return f" Load it as torchscript:{path}."
    return " Bare weights need a card (a YAML file) that names their network: see docs/models.md."
