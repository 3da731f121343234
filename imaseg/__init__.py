"""Robust medical image segmentation: exact attacks, margins, IMA training and audits.

Every public name is imported when it is first used: `imaseg --help` waits for nothing, the core needs torch only, and
`load_model`, `load_cases` and `audit` bring what they need.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imaseg import objectives
    from imaseg.attacks import FGSM, IFGSM, PGD, Attack, AttackResult, GaussianNoise, UniformNoise
    from imaseg.auditing import audit
    from imaseg.data import load_cases
    from imaseg.errors import InputError
    from imaseg.margins import Criterion, DiceBelow, Misclassified, SampleMargin, SampleMarginResult, VoxelsFlipped
    from imaseg.models import load_model
    from imaseg.objectives import CrossEntropy, Dice, DiceCE, Objective
    from imaseg.perturbations import L2, Linf, Perturbation
    from imaseg.training import IMA, MarginTable, PGDTraining, Standard, TrainingMethod

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

_HOME = {
    "attacks": "FGSM IFGSM PGD Attack AttackResult GaussianNoise UniformNoise",
    "auditing": "audit",
    "data": "load_cases",
    "errors": "InputError",
    "margins": "Criterion DiceBelow Misclassified SampleMargin SampleMarginResult VoxelsFlipped",
    "models": "load_model",
    "objectives": "CrossEntropy Dice DiceCE Objective",
    "perturbations": "L2 Linf Perturbation",
    "training": "IMA MarginTable PGDTraining Standard TrainingMethod",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return import_module(f"imaseg.{name}")
    for room, names in _HOME.items():
        if name in names.split():
            value = getattr(import_module(f"imaseg.{room}"), name)
            globals()[name] = value
            return value
    msg = f"module 'imaseg' has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_HOME})
