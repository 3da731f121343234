"""What attacks, objectives and perturbation sets say of themselves, by the names that results hold.

A name of a plug-in that is not installed here stands for itself.
"""

from __future__ import annotations

from typing import NamedTuple

from imaseg.attacks import Attack
from imaseg.attacks.about import About
from imaseg.objectives import Objective
from imaseg.perturbations import Perturbation


class Unknown(NamedTuple):
    """Stands in for a class that is not installed."""

    title: str
    meaning: str = ""
    reference: str = ""
    cited: str = ""


def about_attack(name: str) -> About:
    """A search or a preset.

    >>> about_attack("pgd").title, about_attack("theirs").title
    ('PGD', 'theirs')
    """
    try:
        return Attack.about(name)
    except ValueError:
        return About(name)


def about_objective(name: str | None) -> type[Objective] | Unknown:
    """Class of an objective; None is what no objective was recorded for."""
    return (Objective.find(name) if name else None) or Unknown(name or "")


def about_set(name: str) -> type[Perturbation] | Unknown:
    """Class of a perturbation set."""
    return Perturbation.find(name) or Unknown(name)


def set_name(perturbation: str) -> str:
    """What a perturbation set is called on the page."""
    return about_set(perturbation).title


def attack_name(attack: str) -> str:
    """What an attack is called on the page; a preset keeps the name that plans know it by."""
    search = Attack.find(attack)
    return attack if search is None else search.title


def source_of(perturbation: str) -> str:
    """The work behind a perturbation set, as a sentence names it."""
    cited = about_set(perturbation).cited
    return f" (after {cited})" if cited else ""
