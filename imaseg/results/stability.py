"""How stable predictions are under change, by those of the unchanged images: no labels needed."""

from __future__ import annotations

from imaseg.results.base import CaseId, Interval, Record


class MovedVolume(Record):
    """How far the volume of one structure moves under one change, relative to that on the unchanged image.

    Attributes:
        change: attack or corruption, with its budget or severity.
        structure: class number.
        n: cases that the structure was found in without any change.
        mean: mean relative change of the volume, signed.
        absolute: mean of its size.
        moved: share of these cases in which it is more than `Stability.limit`.
        variation: coefficient of variation of the volume over draws of a corruption, the mean over the cases in which
            the structure is found in any draw; None where it was drawn once.
        draws: of the corruption, that this is over; None where it was drawn once, and in audits of earlier versions.
    """

    change: str
    structure: str
    n: int
    mean: float
    absolute: float
    moved: float
    variation: float | None = None
    draws: int | None = None


class Expected(Record):
    """One case by what says how much its prediction can be trusted.

    Attributes:
        found: whether anything was found in the unchanged image; else there is neither agreement nor margin.
        agreement: mean Dice with the unchanged prediction over the smallest changes; None where none was made.
        margin: smallest margin relative to the largest budget looked at; None where none was searched for.
        voxel_margin: mean margin of the voxels of the structures, likewise, the smallest over sets; None where there is
            no map.
        dice: of the unchanged prediction with the label; None without one.
    """

    case: CaseId
    found: bool
    agreement: float | None
    margin: float | None
    voxel_margin: float | None = None
    dice: float | None


class ScoreOfFailure(Record):
    """How well a score tells bad predictions from good ones, over the cases with a label in which anything was found.

    Attributes:
        score: "agreement", "margin" or "voxel_margin".
        n: cases.
        rank_correlation: Spearman's, of score and Dice, with its interval over cases or patients.
        aurc: area under the curve of risk (1 - Dice) over coverage, cases of low score left out first.
        aurc_random, aurc_best: the same for a score that says nothing, and for the Dice itself.
    """

    score: str
    n: int
    rank_correlation: float | None
    ci95: Interval
    aurc: float
    aurc_random: float
    aurc_best: float


class Stability(Record):
    """Figures of an audit against the model's own prediction.

    Attributes:
        smallest: what `Expected.agreement` is over: every attack at its smallest budget, every corruption at its lowest
            severity.
        limit: relative change of a volume from which on it counts as moved.
        volumes: by change and structure.
        cases: those that nothing was found in first, then those whose predictions are trusted least.
        scores: how well that order fits the labels; empty without labels.
    """

    smallest: list[str]
    limit: float
    volumes: list[MovedVolume]
    cases: list[Expected]
    scores: list[ScoreOfFailure]
