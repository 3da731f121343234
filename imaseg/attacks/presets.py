"""Attacks under their published names: settings of the attacks of this package, and where they come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Preset:
    """A named attack.

    Attributes:
        attack: registered name of the search.
        settings: its arguments, as plain data.
        source: the paper.
        differs: what is not as published; empty if nothing is.
        perturbation: the only set it is meant for; None for every set.
    """

    attack: str
    source: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    differs: str = ""
    perturbation: str | None = None


_SEA = (
    "Croce, Singh & Hein, Robust semantic segmentation: strong adversarial attacks and fast training, "
    "ECCV 2024 (arXiv 2306.12941)"
)
_APGD = "Croce & Hein, Reliable evaluation of adversarial robustness, ICML 2020"
_BEST = "The worst point by Dice over all iterates is kept, not the last one."
_OBJECTIVES = ("masked-ce", "segpgd", "jensen-shannon", "masked-spherical")


def _apgd(objective: str, source: str, differs: str = "", **more: Any) -> Preset:
    return Preset("apgd", source, {"objective": objective, "steps": 100, **more}, differs)


PRESETS: dict[str, Preset] = {
    "pgd-ce": Preset(
        "pgd",
        "Madry et al., Towards deep learning models resistant to adversarial attacks, ICLR 2018",
        {"objective": "cross-entropy", "steps": 20, "step_size": 0.25, "decay": 0.0},
        _BEST,
    ),
    "segpgd": Preset(
        "pgd",
        "Gu, Zhao, Tresp & Torr, SegPGD, ECCV 2022",
        {"objective": "segpgd", "steps": 20, "step_size": 0.32, "decay": 0.0},
        _BEST,
    ),
    "cospgd": Preset(
        "pgd",
        "Agnihotri, Jung & Keuper, CosPGD, ICML 2024",
        {"objective": "cospgd", "steps": 20, "step_size": 0.32, "decay": 0.0},
        _BEST,
    ),
    "apgd-ce": _apgd("cross-entropy", _APGD),
    "apgd-dice": _apgd("dice", _APGD, "Soft Dice instead of cross-entropy."),
    "apgd-masked-ce": _apgd("masked-ce", _SEA, steps=300, larger_first=True),
    "apgd-segpgd": _apgd("segpgd", _SEA, steps=300, larger_first=True),
    "apgd-js": _apgd("jensen-shannon", _SEA, steps=300, larger_first=True),
    "apgd-spherical": _apgd("masked-spherical", _SEA, steps=300, larger_first=True),
    "sea": Preset(
        "worst-case",
        _SEA,
        {
            "members": [{"name": "apgd", "objective": name, "larger_first": True} for name in _OBJECTIVES],
            "steps": 1200,
        },
        "The worst attack per image is chosen by mean foreground Dice instead of accuracy.",
    ),
    "vafa": Preset(
        "ifgsm",
        "Hanif, Naseer, Khan, Shah & Khan, Frequency domain adversarial training for robust volumetric medical "
        "segmentation, MICCAI 2023",
        {"objective": "dice-ce", "steps": 20, "step_size": 0.1, "decay": 0.0},
        "No structural-similarity term; grey levels of each case's own range; starts without quantisation.",
        perturbation="frequency",
    ),
}
