"""Public names and where they live; `__init__.py` imports each when it is first used."""

# ruff: noqa: I001  (one statement per module; "X as X" marks what is public)

from . import (
    attacks as attacks,
    auditing as auditing,
    corruptions as corruptions,
    data as data,
    errors as errors,
    margins as margins,
    models as models,
    objectives as objectives,
    perturbations as perturbations,
    tiling as tiling,
    training as training,
)
from .attacks import (
    APGD as APGD,
    FGSM as FGSM,
    IFGSM as IFGSM,
    PGD as PGD,
    Attack as Attack,
    AttackResult as AttackResult,
    GaussianNoise as GaussianNoise,
    MinimumNorm as MinimumNorm,
    ShrinkingSetPGD as ShrinkingSetPGD,
    Square as Square,
    Strong as Strong,
    UniformNoise as UniformNoise,
    WorstCase as WorstCase,
)
from .auditing import audit as audit
from .data import load_cases as load_cases
from .errors import InputError as InputError
from .margins import (
    CertifiedMargin as CertifiedMargin,
    CertifiedMarginResult as CertifiedMarginResult,
    Criterion as Criterion,
    DiceBelow as DiceBelow,
    MaxDiceBelow as MaxDiceBelow,
    Misclassified as Misclassified,
    SampleMargin as SampleMargin,
    SampleMarginResult as SampleMarginResult,
    Smoothed as Smoothed,
    VoxelMargin as VoxelMargin,
    VoxelMarginResult as VoxelMarginResult,
    VoxelsFlipped as VoxelsFlipped,
    certified_gap as certified_gap,
)
from .models import load_model as load_model
from .objectives import (
    BalancedMaskedCE as BalancedMaskedCE,
    CosPGDLoss as CosPGDLoss,
    CrossEntropy as CrossEntropy,
    Dice as Dice,
    DiceCE as DiceCE,
    Erase as Erase,
    Grow as Grow,
    JensenShannon as JensenShannon,
    LogitMargin as LogitMargin,
    MaskedCE as MaskedCE,
    MaskedSpherical as MaskedSpherical,
    Objective as Objective,
    SegPGDLoss as SegPGDLoss,
    Swap as Swap,
    TemperedDice as TemperedDice,
    Towards as Towards,
    WeakestVoxels as WeakestVoxels,
)
from .perturbations import (
    L2 as L2,
    BiasField as BiasField,
    Deformation as Deformation,
    Frequency as Frequency,
    Gamma as Gamma,
    Linf as Linf,
    Perturbation as Perturbation,
)
from .tiling import TiledModel as TiledModel
from .training import (
    IMA as IMA,
    TRADES as TRADES,
    MarginTable as MarginTable,
    FreeTraining as FreeTraining,
    PGDTraining as PGDTraining,
    Standard as Standard,
    TrainingMethod as TrainingMethod,
)

__version__: str
