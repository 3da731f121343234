"""Whether two audits of one model met different cases, which nothing may pair, whatever the cases are called."""

from __future__ import annotations

from imaseg.report.audits import Audit, labels_are_predictions
from imaseg.results.base import CaseScores

_SAME = 0.005
"""Dice of one case by one model may differ by so much between machines."""


def model_of(audit: Audit) -> tuple[str, str]:
    """What makes two models the same: weights, and all that is said about them."""
    return audit.summary.model.sha256, audit.summary.model.card_sha256


def cases_of(audit: Audit) -> set[str]:
    """Ids of its cases."""
    return {case.case for case in audit.summary.metric_per_case}


def other_cases(one: Audit, other: Audit) -> bool:
    """Whether one model met other cases, not the same ones or some of them: then it does on them what it did before.

    Ids do not tell: two sites may both have a case_001.
    """
    if model_of(one) != model_of(other) or one.run.data_sha256 == other.run.data_sha256:
        return False
    before, after = _values(one), _values(other)
    same = all(abs(before[key] - after[key]) < _SAME for key in before.keys() & after.keys())
    return not (cases_of(one) & cases_of(other) and same)


def dice_by_case(cases: list[CaseScores]) -> dict[str, float]:
    """Mean foreground Dice of those that have it."""
    return {case.case: case.dice for case in cases if case.dice is not None}


def _values(audit: Audit) -> dict[tuple[str, int, str], float]:
    """Dice of every case; of audits without labels, where that is 1, under corruptions."""
    if labels_are_predictions([audit]):
        blocks = {(entry.corruption, entry.severity): entry.metric_per_case for entry in audit.summary.corruptions}
    else:
        blocks = {("", 0): audit.summary.metric_per_case}
    return {(*key, case): dice for key, cases in blocks.items() for case, dice in dice_by_case(cases).items()}
