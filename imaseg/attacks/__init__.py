"""Attacks: searches for the worst perturbation within a set, their results, and published attacks by name."""

from imaseg.attacks.apgd import APGD
from imaseg.attacks.base import Attack
from imaseg.attacks.fgsm import FGSM
from imaseg.attacks.ifgsm import IFGSM
from imaseg.attacks.minimum_norm import MinimumNorm
from imaseg.attacks.noise import GaussianNoise, UniformNoise
from imaseg.attacks.pgd import PGD
from imaseg.attacks.presets import PRESETS, Preset
from imaseg.attacks.result import AttackResult
from imaseg.attacks.shrinking_set_pgd import ShrinkingSetPGD
from imaseg.attacks.square import Square
from imaseg.attacks.universal import Universal, UniversalPGD
from imaseg.attacks.worst_case import WorstCase

Strong = ShrinkingSetPGD
"""`ShrinkingSetPGD` under its name among the attacks, "strong"."""

__all__ = [
    "APGD",
    "FGSM",
    "IFGSM",
    "PGD",
    "PRESETS",
    "Attack",
    "AttackResult",
    "GaussianNoise",
    "MinimumNorm",
    "Preset",
    "ShrinkingSetPGD",
    "Square",
    "Strong",
    "UniformNoise",
    "Universal",
    "UniversalPGD",
    "WorstCase",
]
