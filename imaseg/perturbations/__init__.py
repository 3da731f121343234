"""Perturbation sets: what may change, and by how much. Each set holds its budget `eps`, its unit and its projection."""

from imaseg.perturbations.base import Perturbation
from imaseg.perturbations.bias_field import BiasField
from imaseg.perturbations.deformation import Deformation
from imaseg.perturbations.frequency import Frequency
from imaseg.perturbations.gamma import Gamma
from imaseg.perturbations.l2 import L2
from imaseg.perturbations.linf import Linf
from imaseg.perturbations.near import millimetres, near
from imaseg.perturbations.units import eps_of_native, eps_of_range

__all__ = [
    "L2",
    "BiasField",
    "Deformation",
    "Frequency",
    "Gamma",
    "Linf",
    "Perturbation",
    "eps_of_native",
    "eps_of_range",
    "millimetres",
    "near",
]
