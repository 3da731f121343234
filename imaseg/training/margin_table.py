"""Keeps one margin per training case, which grows until it reaches the decision boundary."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import fsum
from typing import Any

import torch
from torch import Tensor, distributed


class MarginTable:
    """Margins by case id, in the unit of the perturbation set.

    A case starts at one increment. At the end of an epoch a case that was never broken grows by one increment, up to
    the ceiling, if any of its visits went as far as its margin; one that was broken moves towards the mean boundary
    distance of the visits that broke it, by `smoothing` for each of them (an exponential moving average over visits),
    and never below `floor`.

    Where `torch.distributed` is initialised every rank has to end its epochs: visits of all ranks are put together
    there, and all leave with the same table. States are to be saved at the end of an epoch.

    Args:
        increment: growth per epoch, > 0.
        ceiling: largest margin, at least one increment.
        smoothing: weight of a new boundary distance, in (0, 1]; 1 forgets the past.
        floor: smallest margin, from 0 to one increment; one increment if not given.
        any_visit: a case grows if any visit of the epoch left it unbroken, not only if none broke it.

    Attributes:
        margins: by case id.
        counts: by case id, visits in all finished epochs, and those that broke the case.

    Raises:
        ValueError: if one of the arguments is out of its range.
    """

    def __init__(
        self,
        increment: float,
        ceiling: float,
        *,
        smoothing: float = 0.5,
        floor: float | None = None,
        any_visit: bool = False,
    ) -> None:
        if not 0 < increment <= ceiling:
            msg = f"increment must be in (0, eps = {ceiling:g}], got {increment:g}. Use eps / 10."
            raise ValueError(msg)
        if not 0 < smoothing <= 1:
            msg = f"smoothing must be in (0, 1], got {smoothing}. Use 1 to forget the past."
            raise ValueError(msg)
        self.floor = increment if floor is None else floor
        if not 0 <= self.floor <= increment:
            msg = f"floor must be in [0, increment = {increment:g}], got {floor}. Leave it out for one increment."
            raise ValueError(msg)
        self.increment, self.ceiling, self.smoothing, self.any_visit = increment, ceiling, smoothing, any_visit
        self.margins: dict[str, float] = {}
        self.counts: dict[str, tuple[int, int]] = {}
        self._visits: dict[str, int] = {}
        self._broken: dict[str, list[float]] = {}
        self._short: dict[str, int] = {}

    def look_up(self, ids: Iterable[str]) -> Tensor:
        """Return the margins (B,) of these cases; one increment for a case not seen before."""
        return torch.tensor([self.margins.get(key, self.increment) for key in ids])

    def weights(self, ids: Iterable[str], power: float) -> Tensor:
        """Weights (B,) of these cases: margin to the power of -power, with mean 1 over all cases that have a margin."""
        margins = torch.tensor(list(self.margins.values()), dtype=torch.float64)
        scale = (margins / self.increment).pow(-power).mean() if len(margins) else margins.new_ones(())
        return ((self.look_up(ids).double() / self.increment).pow(-power) / scale).float()

    def record(
        self,
        ids: Sequence[str],
        distances: Sequence[float],
        broken: Sequence[bool],
        short: Sequence[bool] | None = None,
    ) -> None:
        """Record one visit of each case.

        Args:
            ids: ids of the cases.
            distances: distance of the boundary of each broken case.
            broken: whether they did.
            short: whether the visit ended short of the margin, or nothing could change, so that not breaking does not
                count; none did if not given.
        """
        for key, distance, hit, early in zip(ids, distances, broken, short or [False] * len(ids), strict=True):
            self.margins.setdefault(key, self.increment)
            self._visits[key] = self._visits.get(key, 0) + 1
            if hit:
                self._broken.setdefault(key, []).append(distance)
            elif early:
                self._short[key] = self._short.get(key, 0) + 1

    def end_epoch(self) -> dict[str, float]:
        """Update every margin that was visited on any rank.

        Returns:
            A summary of the epoch: cases visited, shares broken and failed unperturbed, mean margin and shares at the
            floor and at the ceiling.
        """
        if distributed.is_available() and distributed.is_initialized():
            self._gather()
        visited, broken = len(self._visits), len(self._broken)
        failed = sum(min(distances) == 0 for distances in self._broken.values())
        for key, count in self._visits.items():
            distances = broken_at = self._broken.get(key, [])
            unbroken = count - len(distances) - self._short.get(key, 0)
            if self.any_visit and unbroken:
                distances = []
            if distances or unbroken:
                self.margins[key] = self._moved(self.margins[key], distances)
            before = self.counts.get(key, (0, 0))
            self.counts[key] = (before[0] + count, before[1] + len(broken_at))
        self._visits, self._broken, self._short = {}, {}, {}
        values = list(self.margins.values())
        count = max(len(values), 1)
        return {
            "cases": float(visited),
            "broken": broken / max(visited, 1),
            "failed_clean": failed / max(visited, 1),
            "mean_margin": sum(values) / count,
            "at_floor": sum(value <= self.floor for value in values) / count,
            "at_ceiling": sum(value >= self.ceiling for value in values) / count,
        }

    def _gather(self) -> None:
        """Collect the visits of all ranks, in the order of the ranks."""
        ranks: list[Any] = [None] * distributed.get_world_size()
        distributed.all_gather_object(ranks, (self.margins, self._visits, self._broken, self._short))
        self.margins, self._visits, self._broken, self._short = {}, {}, {}, {}
        for margins, visits, broken, short in ranks:
            # Within an epoch the tables of the ranks differ only in cases that are new to some ranks.
            self.margins |= margins
            for key, count in visits.items():
                self._visits[key] = self._visits.get(key, 0) + count
            for key, distances in broken.items():
                self._broken.setdefault(key, []).extend(distances)
            for key, count in short.items():
                self._short[key] = self._short.get(key, 0) + count

    def _moved(self, margin: float, distances: Sequence[float]) -> float:
        if not distances:
            return min(margin + self.increment, self.ceiling)
        # Summed exactly, so that the result does not depend on how the visits were divided among ranks.
        boundary = fsum(distances) / len(distances)
        kept = [(1 - self.smoothing) ** visit for visit in range(len(distances) + 1)]
        moved = kept[-1] * margin + self.smoothing * sum(kept[:-1]) * boundary
        return min(max(moved, self.floor), self.ceiling)

    def state_dict(self) -> dict[str, Any]:
        """Margins, counts, and the visits of the current epoch."""
        return {
            "margins": dict(self.margins),
            "counts": dict(self.counts),
            "visits": dict(self._visits),
            "broken": {key: list(distances) for key, distances in self._broken.items()},
            "short": dict(self._short),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        # A run may start from the state of a run with another ceiling.
        self.margins = {str(key): min(float(value), self.ceiling) for key, value in state["margins"].items()}
        self.counts = {str(key): (int(seen), int(hit)) for key, (seen, hit) in state.get("counts", {}).items()}
        self._visits = {str(key): int(value) for key, value in state["visits"].items()}
        self._broken = {str(key): [float(item) for item in value] for key, value in state["broken"].items()}
        self._short = {str(key): int(value) for key, value in state.get("short", {}).items()}
