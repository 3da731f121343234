"""Which attack to run on every case: names and numbers as given, turned into an attack once the case is known."""

from __future__ import annotations

from dataclasses import dataclass

from imaseg.attacks import Attack
from imaseg.auditing.budget import Budget
from imaseg.auditing.source import Loaded
from imaseg.errors import InputError


@dataclass(frozen=True)
class AttackSettings:
    """An attack on any case.

    Attributes:
        eps, perturbation, unit: as in `Budget`.
        attack: registered name or preset.
        steps, objective, restarts: of the attack; its own or the preset's if None.
        seed: of every random number.
    """

    eps: float
    attack: str = "pgd"
    perturbation: str = "l2"
    unit: str | None = None
    steps: int | None = None
    objective: str | None = None
    restarts: int | None = None
    seed: int = 0

    def build(self, case: Loaded) -> Attack:
        """The attack on one case, with the budget that fits it.

        Raises:
            InputError: if a name is unknown, or settings do not fit together or to the case.
        """
        given = {"steps": self.steps, "objective": self.objective, "restarts": self.restarts}
        spec = {"name": self.attack} | {key: value for key, value in given.items() if value is not None}
        try:
            perturbation = Budget(self.perturbation, self.eps, self.unit).build(case)
            return Attack.build(spec, perturbation, seed=self.seed)
        except ValueError as error:
            raise InputError(str(error)) from error
