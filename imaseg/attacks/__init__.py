"""How to look for the worst change: searches over any perturbation set under any objective."""

from imaseg.attacks.base import Attack
from imaseg.attacks.fgsm import FGSM
from imaseg.attacks.ifgsm import IFGSM
from imaseg.attacks.noise import GaussianNoise, UniformNoise
from imaseg.attacks.pgd import PGD
from imaseg.attacks.result import AttackResult

__all__ = ["FGSM", "IFGSM", "PGD", "Attack", "AttackResult", "GaussianNoise", "UniformNoise"]
