"""Attacks under their published names: the settings that each of them stands for, and the paper."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from imaseg.objectives import CosPGDLoss, SegPGDLoss
from imaseg.objectives.sea import CITED, CITED_V1, SEA, SEA_V1
from imaseg.perturbations import Frequency


@dataclass(frozen=True)
class Preset:
    """A named attack: a class of this package with fixed settings.

    Attributes:
        attack: registered name of the attack class.
        title: name in tables and sentences.
        settings: arguments of that class, as plain data.
        published: full reference and short citation; None if they are those of the attack class.
        differs: how it differs from the publication; empty if it does not.
        perturbation: name of the only perturbation set it is meant for; None for every set.
    """

    attack: str
    title: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    published: tuple[str, str] | None = None
    differs: str = ""
    perturbation: str | None = None


_BEST = "The worst point by Dice over all iterates is kept, not the last one."
_V1 = ("masked-ce", "segpgd", "jensen-shannon", "masked-spherical")
_ECCV = ("balanced-masked-ce", "masked-ce", "jensen-shannon")
_CHOSEN = "The worst attack per image is chosen by mean foreground Dice instead of accuracy."
_BALANCED = "Classes are balanced by their voxels in the image instead of in the data set."


def _apgd(title: str, objective: str, differs: str = "") -> Preset:
    return Preset("apgd", title, {"objective": objective, "steps": 100}, differs=differs)


def _sea(title: str, objective: str, differs: str = "") -> Preset:
    """One of the attacks of SEA, of its first version unless the published one has it too."""
    published = (SEA, CITED) if objective in _ECCV else (SEA_V1, CITED_V1)
    return Preset("apgd", title, {"objective": objective, "steps": 300, "larger_first": True}, published, differs)


def _ensemble(title: str, objectives: tuple[str, ...], published: tuple[str, str], differs: str) -> Preset:
    """Worst of APGD with 300 steps on each objective."""
    members = [{"name": "apgd", "objective": name, "larger_first": True} for name in objectives]
    settings = {"members": members, "steps": 300 * len(members)}
    return Preset("worst-case", title, settings, published, differs)


PRESETS: dict[str, Preset] = {
    "pgd-ce": Preset(
        "pgd",
        "PGD on cross-entropy",
        {"objective": "cross-entropy", "steps": 20, "step_size": 0.25, "decay": 0.0},
        differs=_BEST,
    ),
    "segpgd": Preset(
        "pgd",
        "SegPGD",
        {"objective": "segpgd", "steps": 20, "step_size": 0.32, "decay": 0.0},
        (SegPGDLoss.reference, SegPGDLoss.cited),
        _BEST,
    ),
    "cospgd": Preset(
        "pgd",
        "CosPGD",
        {"objective": "cospgd", "steps": 20, "step_size": 0.32, "decay": 0.0},
        (CosPGDLoss.reference, CosPGDLoss.cited),
        _BEST,
    ),
    "apgd-ce": _apgd("APGD on cross-entropy", "cross-entropy"),
    "apgd-dice": _apgd("APGD on soft Dice", "dice", "Soft Dice instead of cross-entropy."),
    "apgd-masked-ce": _sea("APGD on masked cross-entropy", "masked-ce"),
    "apgd-segpgd": _sea("APGD on SegPGD's loss", "segpgd"),
    "apgd-js": _sea("APGD on Jensen-Shannon divergence", "jensen-shannon"),
    "apgd-spherical": _sea("APGD on the masked spherical loss", "masked-spherical"),
    "apgd-balanced-ce": _sea("APGD on balanced masked cross-entropy", "balanced-masked-ce", _BALANCED),
    "sea": _ensemble("SEA (four losses, arXiv v1)", _V1, (SEA_V1, CITED_V1), _CHOSEN),
    "sea-eccv": _ensemble("SEA (three losses, ECCV 2024)", _ECCV, (SEA, CITED), f"{_CHOSEN} {_BALANCED}"),
    "vafa": Preset(
        "ifgsm",
        "VAFA",
        {"objective": "dice-ce", "steps": 20, "step_size": 0.1, "decay": 0.0},
        (Frequency.reference, Frequency.cited),
        "No structural-similarity term; grey levels of each case's own range; starts without quantisation.",
        perturbation="frequency",
    ),
}
