"""Robust medical image segmentation: exact attacks, margins, IMA training and audits.

Every public name is imported when it is first used: `imaseg --help` waits for nothing, the core needs torch only, and
`load_model`, `load_cases` and `audit` bring what they need.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from imaseg.version import __version__

if TYPE_CHECKING:
    from imaseg import corruptions, objectives
    from imaseg.attacks import (
        APGD,
        FGSM,
        IFGSM,
        PGD,
        Attack,
        AttackResult,
        GaussianNoise,
        MinimumNorm,
        ShrinkingSetPGD,
        Square,
        UniformNoise,
        WorstCase,
    )
    from imaseg.auditing import audit
    from imaseg.data import load_cases
    from imaseg.errors import InputError
    from imaseg.margins import (
        CertifiedMargin,
        CertifiedMarginResult,
        Criterion,
        DiceBelow,
        Misclassified,
        SampleMargin,
        SampleMarginResult,
        Smoothed,
        VoxelMargin,
        VoxelMarginResult,
        VoxelsFlipped,
        certified_gap,
    )
    from imaseg.models import load_model
    from imaseg.objectives import (
        BalancedMaskedCE,
        CosPGDLoss,
        CrossEntropy,
        Dice,
        DiceCE,
        Erase,
        Grow,
        JensenShannon,
        LogitMargin,
        MaskedCE,
        MaskedSpherical,
        Objective,
        SegPGDLoss,
        Swap,
        TemperedDice,
        Towards,
        WeakestVoxels,
    )
    from imaseg.perturbations import L2, BiasField, Deformation, Frequency, Gamma, Linf, Perturbation
    from imaseg.tiling import TiledModel
    from imaseg.training import IMA, TRADES, FreeTraining, MarginTable, PGDTraining, Standard, TrainingMethod

__all__ = [
    "APGD",
    "FGSM",
    "IFGSM",
    "IMA",
    "L2",
    "PGD",
    "TRADES",
    "Attack",
    "AttackResult",
    "BalancedMaskedCE",
    "BiasField",
    "CertifiedMargin",
    "CertifiedMarginResult",
    "CosPGDLoss",
    "Criterion",
    "CrossEntropy",
    "Deformation",
    "Dice",
    "DiceBelow",
    "DiceCE",
    "Erase",
    "FreeTraining",
    "Frequency",
    "Gamma",
    "GaussianNoise",
    "Grow",
    "InputError",
    "JensenShannon",
    "Linf",
    "LogitMargin",
    "MarginTable",
    "MaskedCE",
    "MaskedSpherical",
    "MinimumNorm",
    "Misclassified",
    "Objective",
    "PGDTraining",
    "Perturbation",
    "SampleMargin",
    "SampleMarginResult",
    "SegPGDLoss",
    "ShrinkingSetPGD",
    "Smoothed",
    "Square",
    "Standard",
    "Swap",
    "TemperedDice",
    "TiledModel",
    "Towards",
    "TrainingMethod",
    "UniformNoise",
    "VoxelMargin",
    "VoxelMarginResult",
    "VoxelsFlipped",
    "WeakestVoxels",
    "WorstCase",
    "__version__",
    "audit",
    "certified_gap",
    "corruptions",
    "load_cases",
    "load_model",
    "objectives",
]

_HOME = {
    "attacks": (
        "APGD FGSM IFGSM PGD Attack AttackResult GaussianNoise MinimumNorm ShrinkingSetPGD Square UniformNoise "
        "WorstCase"
    ),
    "auditing": "audit",
    "corruptions": "",
    "data": "load_cases",
    "errors": "InputError",
    "margins": (
        "CertifiedMargin CertifiedMarginResult Criterion DiceBelow Misclassified SampleMargin SampleMarginResult "
        "Smoothed VoxelMargin VoxelMarginResult VoxelsFlipped certified_gap"
    ),
    "models": "load_model",
    "objectives": (
        "BalancedMaskedCE CosPGDLoss CrossEntropy Dice DiceCE Erase Grow JensenShannon LogitMargin MaskedCE "
        "MaskedSpherical Objective SegPGDLoss Swap TemperedDice Towards WeakestVoxels"
    ),
    "perturbations": "BiasField Deformation Frequency Gamma L2 Linf Perturbation",
    "tiling": "TiledModel",
    "training": "IMA TRADES FreeTraining MarginTable PGDTraining Standard TrainingMethod",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return import_module(f"imaseg.{name}")
    for package, names in _HOME.items():
        if name in names.split():
            value = getattr(import_module(f"imaseg.{package}"), name)
            globals()[name] = value
            return value
    msg = f"module 'imaseg' has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_HOME})
