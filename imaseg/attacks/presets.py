"""Attacks under their published names: the settings that each of them stands for, and the paper."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from imaseg.objectives import CosPGDLoss, SegPGDLoss
from imaseg.objectives.sea import CITED, SEA
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
_OBJECTIVES = ("masked-ce", "segpgd", "jensen-shannon", "masked-spherical")


def _apgd(title: str, objective: str, differs: str = "") -> Preset:
    return Preset("apgd", title, {"objective": objective, "steps": 100}, differs=differs)


def _sea(title: str, objective: str) -> Preset:
    """One of the four attacks of SEA."""
    return Preset("apgd", title, {"objective": objective, "steps": 300, "larger_first": True}, (SEA, CITED))


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
    "sea": Preset(
        "worst-case",
        "SEA",
        {
            "members": [{"name": "apgd", "objective": name, "larger_first": True} for name in _OBJECTIVES],
            "steps": 1200,
        },
        (SEA, CITED),
        "The worst attack per image is chosen by mean foreground Dice instead of accuracy.",
    ),
    "vafa": Preset(
        "ifgsm",
        "VAFA",
        {"objective": "dice-ce", "steps": 20, "step_size": 0.1, "decay": 0.0},
        (Frequency.reference, Frequency.cited),
        "No structural-similarity term; grey levels of each case's own range; starts without quantisation.",
        perturbation="frequency",
    ),
}
