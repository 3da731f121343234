"""Stability of predictions without labels: volumes that move, and which cases are most likely to be wrong.

A case is expected to fail if its prediction changes under changes that should not matter: the score is the mean Dice
between the prediction of the unchanged image and those under every attack at its smallest budget and every corruption
at its lowest severity. Where nothing was found at all there is no score: nothing is perfectly stable. Where cases have
labels, these say how well the score works.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence

from imaseg.results.attack import AttackRow
from imaseg.results.base import MEAN, Row, Scores
from imaseg.results.case import CaseRecord
from imaseg.results.corruption import CorruptionRow
from imaseg.results.margin import MarginRow
from imaseg.results.stability import Expected, MovedVolume, ScoreOfFailure, Stability
from imaseg.results.voxel_margin import VoxelMarginRow
from imaseg.statistics.ranking import rank_correlation, risk_coverage

LIMIT = 0.1


def stability(records: Sequence[CaseRecord]) -> Stability:
    """Figures over records of cases that were judged by the model's own prediction."""
    smallest = _smallest(records)
    cases = [_expected(record, smallest) for record in records]
    units = {record.case: record.unit for record in records}
    scores = [
        one for name in ("agreement", "margin", "voxel_margin") if (one := _judged(name, cases, units)) is not None
    ]
    return Stability(
        smallest=[name for name, _ in smallest],
        limit=LIMIT,
        volumes=_volumes(records),
        cases=sorted(cases, key=_trust),
        scores=scores,
    )


def _trust(case: Expected) -> tuple[bool, float, float, float, str]:
    """Those that nothing was found in come first."""
    return case.found, _or_one(case.agreement), _or_one(case.margin), _or_one(case.voxel_margin), case.case


def _or_one(value: float | None) -> float:
    return 1.0 if value is None else value


def _changes(record: CaseRecord) -> Iterator[tuple[str, float, Scores]]:
    """What was changed, how much, and the scores under it; attacks of a ladder share a name, as do severities."""
    for row in record.rows:
        if (name := _name(row)) and isinstance(row, AttackRow | CorruptionRow):
            yield name, row.eps if isinstance(row, AttackRow) else float(row.severity), row.scores


def _name(row: Row) -> str:
    if isinstance(row, CorruptionRow):
        return row.corruption
    return row.probe if isinstance(row, AttackRow) else ""


def _smallest(records: Sequence[CaseRecord]) -> list[tuple[str, float]]:
    found: dict[str, float] = {}
    for record in records:
        for name, size, _ in _changes(record):
            found[name] = min(size, found.get(name, size))
    return [*found.items()]


def _expected(record: CaseRecord, smallest: Sequence[tuple[str, float]]) -> Expected:
    found = any(ml > 0 for ml in record.volumes.values())
    dice = [s[MEAN]["dice"] for name, size, s in _changes(record) if (name, size) in smallest]
    known = [value for value in dice if value is not None] if found else []
    margins = [
        row.margin / row.eps for row in record.rows_of(MarginRow) if row.structure is None and row.margin is not None
    ]
    return Expected(
        case=record.case,
        found=found,
        agreement=statistics.fmean(known) if known else None,
        margin=min(margins, default=None) if found else None,
        voxel_margin=min(_of_voxels(record), default=None) if found else None,
        dice=record.truth.get(MEAN, {}).get("dice"),
    )


def _of_voxels(record: CaseRecord) -> Iterator[float]:
    """Mean margins inside the structures, of each set by attacks, else by the estimate."""
    for row in record.rows_of(VoxelMarginRow):
        by_method = {one.method: one for one in row.maps}
        shown = by_method.get("attack") or by_method.get("gradient")
        if shown is not None and shown.mean_inside is not None:
            yield min(shown.mean_inside / shown.eps, 1.0)


def _judged(name: str, cases: Sequence[Expected], units: dict[str, str]) -> ScoreOfFailure | None:
    """How well one score fits the labels; None where fewer than two cases have both."""
    pairs = [
        (score, case.dice, units[case.case])
        for case in cases
        if (score := getattr(case, name)) is not None and case.dice is not None
    ]
    if len(pairs) < 2:
        return None
    scores, dice, patients = (list(column) for column in zip(*pairs, strict=True))
    risks = [1 - value for value in dice]
    correlation, ends = rank_correlation(scores, dice, patients)
    return ScoreOfFailure(
        score=name,
        n=len(pairs),
        rank_correlation=correlation,
        ci95=ends,
        aurc=risk_coverage(scores, risks),
        aurc_random=statistics.fmean(risks),
        aurc_best=risk_coverage(dice, risks),
    )


def _variation(records: Sequence[CaseRecord]) -> dict[tuple[str, float, str], tuple[float, int]]:
    """Mean coefficient of variation over draws, and how many there were, by corruption, severity and structure."""
    found: dict[tuple[str, float, str], list[tuple[float, int]]] = {}
    for record in records:
        for row in record.rows_of(CorruptionRow):
            for k in record.volumes if row.volumes else ():
                drawn = [volumes[k] for volumes in row.volumes]
                if any(drawn):
                    variation = statistics.stdev(drawn) / statistics.fmean(drawn)
                    found.setdefault((row.corruption, float(row.severity), k), []).append((variation, len(drawn)))
    return {
        key: (statistics.fmean(value for value, _ in values), max(draws for _, draws in values))
        for key, values in found.items()
    }


def _volumes(records: Sequence[CaseRecord]) -> list[MovedVolume]:
    variation = _variation(records)
    found: dict[tuple[str, float, str], list[float]] = {}
    for record in records:
        for name, size, scores in _changes(record):
            for k, ml in record.volumes.items():
                error = scores[k].get("volume_error")
                if ml > 0 and error is not None:
                    found.setdefault((name, size, k), []).append(error / ml)
    return [
        MovedVolume(
            change=f"{name} {size:g}",
            structure=k,
            n=len(moves),
            mean=statistics.fmean(moves),
            absolute=statistics.fmean(map(abs, moves)),
            moved=statistics.fmean(abs(move) > LIMIT for move in moves),
            variation=variation.get((name, size, k), (None, None))[0],
            draws=variation.get((name, size, k), (None, None))[1],
        )
        for (name, size, k), moves in found.items()
    ]
