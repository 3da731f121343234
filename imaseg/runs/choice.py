"""Which epoch is the best by the monitored Dice, and whether a run goes on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from imaseg.runs.config import TrainConfig

OUTCOME = "outcome.json"
History = Sequence[Mapping[str, float]]


@dataclass(frozen=True)
class Outcome:
    """How far a run has come, and which epoch its weights are of.

    Attributes:
        epochs: that are done.
        planned: that the configuration asks for.
        ended_early: whether it ended since no better epoch came.
        weights_of_epoch: in the run folder.
        best_by: column of the metrics that the best epoch is told by; None without monitored cases.
        best_epoch: number of the epoch with the highest value there, the first of equal ones.
        best: that value; None if it is not defined.
    """

    epochs: int
    planned: int
    ended_early: bool
    weights_of_epoch: int
    best_by: str | None
    best_epoch: int | None
    best: float | None

    @property
    def over(self) -> bool:
        """Whether no epoch is left to do."""
        return self.ended_early or self.epochs >= self.planned

    @property
    def sentence(self) -> str:
        """Why a run ended early."""
        return (
            f"Training ends after epoch {self.epochs} of {self.planned}: {self.best_by} was highest in epoch "
            f"{self.best_epoch} (`patience`). The weights are those of epoch {self.weights_of_epoch}."
        )

    def told(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def outcome(history: History, config: TrainConfig) -> Outcome:
    """What the epochs that are done, at least one, come to."""
    by, done, best, value = config.best_by, len(history), None, None
    if by is not None:
        best = _best_epoch(history, by)
        value = history[best - 1].get(by, math.nan)
    patient = config.patience is None or best is None or done - best < config.patience
    return Outcome(
        epochs=done,
        planned=config.epochs,
        ended_early=not patient and done < config.epochs,
        weights_of_epoch=best if config.select == "best" and best is not None else done,
        best_by=by,
        best_epoch=best,
        best=None if value is None or math.isnan(value) else value,
    )


def _best_epoch(history: History, by: str) -> int:
    """The first, where all values are undefined."""
    values = [row.get(by, math.nan) for row in history]
    known = [place for place, value in enumerate(values) if not math.isnan(value)]
    return 1 + (max(known, key=lambda place: values[place]) if known else 0)
