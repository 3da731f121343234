"""Results by group: sites, scanners, sexes, ages, whatever a table of the cases states."""

from __future__ import annotations

from imaseg.results.base import CaseId, Interval, Record

CLEAN = "clean"
"""Stands for the unchanged images where probes are named."""


class GroupFigure(Record):
    """Mean Dice of a group under one probe, or on unchanged images (`CLEAN`, eps 0).

    Attributes:
        native_dice: the same mean of Dice on the grid of the files; None where it was not counted.
    """

    probe: str
    eps: float
    dice: float
    ci95: Interval
    native_dice: float | None = None


class GroupMargin(Record):
    """Median margin of a group; where `at_least` it rests on cases that nothing broke."""

    probe: str
    unit: str
    median: float
    at_least: bool
    ci95: Interval


class Group(Record):
    """The cases that have one value of a column.

    Attributes:
        value: or a range of numbers; "not stated" for cases that the table leaves out.
        cases: of the group.
        patients: how many; cases where nobody names patients.
        figures: clean and under each attack that was run on every case.
        margins: of whole cases.
    """

    value: str
    cases: list[CaseId]
    patients: int
    figures: list[GroupFigure]
    margins: list[GroupMargin]


class GroupGap(Record):
    """How far the groups of a column are apart under one probe; groups that are too small do not count.

    Attributes:
        gap: lowest less highest mean Dice, 0 or negative.
        worst: group with the lowest.
        p: of the Kruskal-Wallis test over patients, adjusted by Holm's method over all gaps of the audit.
    """

    probe: str
    eps: float
    gap: float
    worst: str
    p: float


class Grouping(Record):
    """Results by the values of one column.

    Attributes:
        column: of the table.
        fewest: patients that a group must have to count in a gap.
        groups: by value.
        gaps: none where fewer than two groups are large enough.
    """

    column: str
    fewest: int
    groups: list[Group]
    gaps: list[GroupGap]
