"""Corruptions (faults of scanners and acquisitions): one case under one of them, all cases, and degradation scores."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from imaseg.results.base import Block, Entry, Interval, Record, Row, Scored, Spread, score_lines


class CorruptionRow(Scored, Row):
    """One corruption at one severity on one case.

    Attributes:
        corruption: registered name.
        severity: 1 to 5.
        parameters: of the corruption at that severity.
        change: size of the image change, in standard deviations of the unchanged image inside the body.
        reached: whether the change is the one that the severity asks for.
        before_normalisation: whether the image was corrupted before it was prepared.
        scores: of the prediction.
        volumes: predicted, in ml by class, of each draw of the corruption; empty where there is one only.
    """

    kind: Literal["corruption"] = "corruption"
    corruption: str
    severity: int
    parameters: dict[str, Any]
    change: float
    reached: bool
    before_normalisation: bool
    volumes: list[dict[str, float]] = []

    def table(self) -> list[tuple[float | str, str, str, float | None]]:
        """Every metric by class."""
        return score_lines(float(self.severity), self.scores)


class LeftOutRow(Row):
    """A corruption that does not occur in such images, and why."""

    kind: Literal["corruption-left-out"] = "corruption-left-out"
    corruption: str
    reason: str


class CorruptionEntry(Block, Entry):
    """One corruption at one severity over the cases that it occurs in.

    Attributes:
        title: what it is called on the page.
        calibrated: whether the severity is set by the size of the image change.
        parameters: medians over cases; `parameter_range` their extremes.
        change: of the image, as in `CorruptionRow`.
        reached: cases in which the change is the one that the severity asks for.
        before_normalisation: whether all images were corrupted before they were prepared.
        seed: of what is drawn.
        n: cases.
    """

    place: ClassVar[str] = "corruptions"
    kind: Literal["corruption"] = "corruption"
    corruption: str
    severity: int
    title: str
    calibrated: bool
    parameters: dict[str, Any]
    parameter_range: dict[str, list[Any]]
    change: Spread
    reached: int
    before_normalisation: bool
    seed: int
    n: int


class Losses(Record):
    """Loss of Dice per corruption and over all, each with an interval; None and empty where no corruption occurs."""

    per_corruption: dict[str, float]
    per_corruption_ci95: dict[str, Interval]
    mean: float | None
    ci95: Interval


class Degradation(Losses):
    """Degradation scores as ROOD-MRI defines them (Boone et al., NeuroImage 2023).

    Attributes:
        worst, worst_corruption: the largest, and its corruption.
        relative: divided by the clean Dice; without corruptions of cases whose clean Dice is 0 altogether.
        unweighted: all severities alike.
        left_out: corruptions that occur in no case, with the reason.
        definition: in words.
    """

    worst: float | None
    worst_corruption: str | None
    relative: Losses
    unweighted: Losses
    left_out: dict[str, str]
    definition: str
