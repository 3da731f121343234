"""Robust medical image segmentation: exact attacks, margins, IMA training and audits.

Importing `imaseg` needs torch only; `load_model`, `load_cases` and `audit` import what they need when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from imaseg import objectives
from imaseg.attacks import FGSM, IFGSM, PGD, Attack, AttackResult, GaussianNoise, UniformNoise
from imaseg.errors import InputError
from imaseg.margins import Criterion, DiceBelow, Misclassified, SampleMargin, SampleMarginResult, VoxelsFlipped
from imaseg.objectives import CrossEntropy, Dice, DiceCE, Objective
from imaseg.perturbations import L2, Linf, Perturbation
from imaseg.training import IMA, MarginTable, PGDTraining, Standard, TrainingMethod

if TYPE_CHECKING:
    from imaseg.auditing import audit
    from imaseg.data import load_cases
    from imaseg.models import load_model

__version__ = "0.1.0"

__all__ = [
    "FGSM",
    "IFGSM",
    "IMA",
    "L2",
    "PGD",
    "Attack",
    "AttackResult",
    "Criterion",
    "CrossEntropy",
    "Dice",
    "DiceBelow",
    "DiceCE",
    "GaussianNoise",
    "InputError",
    "Linf",
    "MarginTable",
    "Misclassified",
    "Objective",
    "PGDTraining",
    "Perturbation",
    "SampleMargin",
    "SampleMarginResult",
    "Standard",
    "TrainingMethod",
    "UniformNoise",
    "VoxelsFlipped",
    "__version__",
    "audit",
    "load_cases",
    "load_model",
    "objectives",
]

_LAZY = {"audit": "imaseg.auditing", "load_cases": "imaseg.data", "load_model": "imaseg.models"}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        msg = f"module 'imaseg' has no attribute {name!r}"
        raise AttributeError(msg)
    from importlib import import_module

    module = import_module(_LAZY[name])
    return getattr(module, name)
