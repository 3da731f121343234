"""How long an audit still takes: what its parts were expected to take, corrected by what they have taken so far."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from imaseg.auditing.engine.cost import Seconds
from imaseg.auditing.probes import Cost


class Pace:
    """Keeps expected and spent seconds of each part.

    Args:
        parts: of the plan.
        seconds: measured before the first case; None where nothing was, so that calls stand for them.
    """

    def __init__(self, parts: Sequence[Cost], seconds: Seconds | None = None) -> None:
        self.parts, self.measured = parts, seconds is not None
        self.expected = {part.name: float(part.calls) if seconds is None else seconds.of(part) for part in parts}
        self._known: dict[str, tuple[float, float]] = {}

    def took(self, run: str, place: int, seconds: float) -> None:
        """Note what one probe, or the checks, took on the case at a place."""
        expected = sum(self.expected[part.name] for part in self.parts if part.run == run and part.covers(place))
        before = self._known.get(run, (0.0, 0.0))
        self._known[run] = (before[0] + expected, before[1] + seconds)

    def left(self, places: Iterable[int], *, begun: int | None = None, done: Collection[str] = ()) -> float | None:
        """Seconds that cases still take one after the other; None while nothing is known.

        Args:
            places: of the cases.
            begun: which of them is being worked on.
            done: probes that are done there.
        """
        overall = self._share([*self._known])
        if overall is None and not self.measured:
            return None
        total = 0.0
        for part in self.parts:
            number = sum(part.covers(place) and not (place == begun and part.run in done) for place in places)
            share = self._share([part.run])
            total += number * self.expected[part.name] * next(one for one in (share, overall, 1.0) if one is not None)
        return total

    def _share(self, runs: Collection[str]) -> float | None:
        """Spent seconds by expected ones; None where nothing was expected yet."""
        known = [self._known[run] for run in runs if run in self._known]
        expected = sum(one for one, _ in known)
        return sum(spent for _, spent in known) / expected if expected > 0 else None
