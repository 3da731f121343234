"""Worst case over several attacks: for each sample the lowest Dice that any member reaches.

The members search one after the other and share one `Search`: samples whose Dice one member brought to 0 are not
searched again by the next, and the clean image is evaluated once. Backward and forward passes: the sum over members.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Self

from imaseg.attacks.base import Attack
from imaseg.attacks.search import Search
from imaseg.objectives import Objective
from imaseg.perturbations import Perturbation

Member = Attack | str | Mapping[str, Any]
_SEA = ("masked-ce", "segpgd", "jensen-shannon", "masked-spherical")


class WorstCase(Attack):
    """Worst of several attacks; see `Attack` for the other arguments.

    Args:
        perturbation: what may change, for all members.
        members: attacks, or what `Attack.build` takes (names, presets, mappings); the perturbation sets and seeds of
            attacks are replaced by this one's. APGD on the four objectives of SEA (arXiv v1) if not given.
        steps: total over members, shared out evenly, the first members taking the remainder; None leaves each
            member its own.
        objective: by which points of equal Dice are told apart, and which the result states; members have their own.
        restarts: repetitions of the whole with other random starts.

    Raises:
        ValueError: if there are no members, fewer steps than members, or a member looks for the smallest change.
    """

    title = "worst case over all attacks"

    _unshown = ("steps",)

    def __init__(
        self,
        perturbation: Perturbation,
        *,
        members: Sequence[Member] | None = None,
        steps: int | None = None,
        objective: Objective | None = None,
        restarts: int = 1,
        seed: int = 0,
        samples: int = 1,
    ) -> None:
        chosen = list(members) if members is not None else [{"name": "apgd", "objective": name} for name in _SEA]
        if not chosen:
            msg = "members must hold at least one attack, got none. Use None for the default ones."
            raise ValueError(msg)
        self.members = [_made(member, perturbation, seed) for member in chosen]
        for member in self.members:
            if member.smallest:
                msg = f"members must look for the lowest Dice, got {member.name}. Run it by itself."
                raise ValueError(msg)
        if steps is not None:
            self.members = _shared(self.members, steps)
        total = sum(member.steps for member in self.members)
        super().__init__(perturbation, steps=total, objective=objective, restarts=restarts, seed=seed, samples=samples)

    def on(self, perturbation: Perturbation, *, seed: int | None = None) -> Self:
        other = super().on(perturbation, seed=seed)
        other.members = [member.on(perturbation, seed=other.seed) for member in self.members]
        return other

    def with_steps(self, steps: int) -> Self:
        other = copy.copy(self)
        other.members = _shared(self.members, steps)
        other.steps = sum(member.steps for member in other.members)
        return other

    def _run(self, search: Search) -> None:
        for _ in range(self.restarts):
            for member in self.members:
                if search.done:
                    return
                search.switch(member.objective)
                member._run(search)


def _shared(members: list[Attack], steps: int) -> list[Attack]:
    if steps < len(members):
        msg = f"steps must be at least the number of members ({len(members)}), got {steps}."
        raise ValueError(msg)
    shares = [steps // len(members) + (index < steps % len(members)) for index in range(len(members))]
    return [member.with_steps(share) for member, share in zip(members, shares, strict=True)]


def _made(member: Member, perturbation: Perturbation, seed: int) -> Attack:
    if isinstance(member, Attack):
        return member.on(perturbation, seed=seed)
    return Attack.build(member, perturbation, seed=seed)
