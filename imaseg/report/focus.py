"""What attacks are judged on: all cases, or where many are broken or empty without any change those that are not."""

from __future__ import annotations

from collections.abc import Sequence

from imaseg.report.audits import Audit, Audits, labels_are_predictions, owner
from imaseg.report.compare import Point
from imaseg.report.wording import decimal, sentence_case, short
from imaseg.results.base import MEAN
from imaseg.results.standing import Standing, standing
from imaseg.statistics import mean_interval


def standing_of(audit: Audit) -> Standing:
    """Its cases by what they are without any change."""
    return standing(audit.summary)


def focus(audit: Audit, point: Point) -> Point:
    """The point itself, or over the cases that a change can break where many need none."""
    stands = standing_of(audit)
    return among(point, stands.cases) if stands.many else point


def among(point: Point, cases: tuple[str, ...]) -> Point:
    """Dice of a point over some of its cases, with an interval of its own."""
    inside = {*cases}
    held = [case for case in point.cases if case.case in inside]
    known = [(case.case, case.dice) for case in held if case.dice is not None]
    values = [dice for _, dice in known]
    mean = sum(values) / len(values) if values else None
    ends = mean_interval(values, [point.units.get(case, case) for case, _ in known], within=(0, 1)) if values else None
    return point._replace(n=len(held), metrics={"dice": mean}, ci95={"dice": ends}, cases=held)


def focus_name(audit: Audit) -> str:
    """Over which cases the focus is: `the other 10 cases`; empty where it is over all."""
    stands = standing_of(audit)
    return stands.others if stands.many else ""


def over_others(audits: Audits, audit: Audit, points: Sequence[Point]) -> str:
    """Means over the cases that a change can break, as a sentence of a caption; empty where they are not told apart."""
    stands = standing_of(audit)
    if not (stands.many and stands.cases):
        return ""
    means = ", ".join(
        f"{decimal(among(point, stands.cases).dice)} {f'at {short(point.eps)}' if point.eps else 'clean'}"
        for point in points
    )
    return f"{owner(audits, audit)}{sentence_case(stands.said)}; mean over {stands.others}: {means}."


def found_nothing(audit: Audit) -> frozenset[str]:
    """Cases in whose unchanged image nothing is found, though something is labelled where labels exist."""
    if labels_are_predictions([audit]):
        return frozenset(standing_of(audit).fallen)
    missed = {case.case: case.metrics.get(MEAN, {}).get("missed") for case in audit.summary.metric_per_case}
    return frozenset(case for case, share in missed.items() if share == 1)
