"""Line up several audits: which attacks they share, which is the strongest, and paired differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from imaseg.report.known import about_attack
from imaseg.report.read import Audit
from imaseg.report.schema import CaseMetrics, Interval, Metrics, Probe
from imaseg.statistics import bootstrap

_Scores = dict[tuple[str, float], float]


class Series(NamedTuple):
    """What is comparable across budgets: one named probe in one perturbation set and unit."""

    probe: str
    attack: str
    perturbation: str
    unit: str

    @property
    def noise(self) -> bool:
        """Whether this probe draws at random instead of searching for the worst change."""
        return about_attack(self.attack).is_noise


@dataclass(frozen=True)
class Point:
    """Mean foreground metrics of one audit at one budget (0 is the clean image)."""

    eps: float
    n: int
    metrics: Metrics
    dice_ci95: Interval
    cases: list[CaseMetrics]
    probe: Probe | None

    @property
    def dice(self) -> float | None:
        """Mean foreground Dice."""
        return self.metrics.get("dice")


@dataclass(frozen=True)
class Difference:
    """Paired mean difference over the cases that both audits hold, with a bootstrap interval."""

    mean: float
    ci95: Interval
    n: int


def all_series(audits: Sequence[Audit]) -> list[Series]:
    """Every probe of any audit, in the order of first appearance."""
    found = dict.fromkeys(
        Series(probe.probe, probe.attack, probe.perturbation, probe.unit)
        for audit in audits
        for probe in audit.summary.probes
    )
    return list(found)


def clean_point(audit: Audit) -> Point:
    """The unchanged image as budget 0."""
    summary = audit.summary
    cases = summary.metric_per_case
    return Point(0.0, len(cases), summary.foreground_mean, summary.clean_dice_ci95, cases, None)


def ladder(audit: Audit, series: Series) -> list[Point]:
    """Points of one probe by rising eps, without the clean one; empty if this audit does not hold it."""
    points = [
        Point(probe.eps, probe.n, probe.foreground_mean, probe.dice_ci95, probe.metric_per_case, probe)
        for probe in audit.summary.probes
        if Series(probe.probe, probe.attack, probe.perturbation, probe.unit) == series
    ]
    return sorted(points, key=lambda point: point.eps)


def budgets(audits: Sequence[Audit], series: Series) -> list[float]:
    """Every eps at which any audit ran this probe."""
    return sorted({point.eps for audit in audits for point in ladder(audit, series)})


def at(audit: Audit, series: Series, eps: float) -> Point | None:
    """Point of one probe at one eps, None where it was not audited."""
    return next((point for point in ladder(audit, series) if point.eps == eps), None)


def strongest(audits: Sequence[Audit]) -> list[Series]:
    """For each perturbation set and unit, the attack with the lower mean Dice than most others at shared budgets."""
    sets: dict[tuple[str, str], dict[Series, _Scores]] = {}
    for series in all_series(audits):
        if not series.noise:
            dice = {(a.name, p.eps): p.dice for a in audits for p in ladder(a, series) if p.dice is not None}
            sets.setdefault((series.perturbation, series.unit), {})[series] = dice
    return [_best(rivals) for rivals in sets.values()]


def _best(rivals: dict[Series, _Scores]) -> Series:
    return max(rivals, key=lambda series: (_beaten(rivals[series], rivals), len(rivals[series])))


def _beaten(own: _Scores, rivals: dict[Series, _Scores]) -> int:
    """How many rivals have the higher mean Dice over the models and budgets at which both were run."""
    return sum(sum(own[key] - dice[key] for key in own.keys() & dice.keys()) < 0 for dice in rivals.values())


def telling(audits: Sequence[Audit], series: Series) -> float | None:
    """The budget at which models are compared: the showcased one if all hold it, else the middle one they share."""
    ladders = [{point.eps for point in found} for audit in audits if (found := ladder(audit, series))]
    shared = sorted(set.intersection(*ladders)) if ladders else []
    shown = {(probe.perturbation, probe.unit, probe.eps) for audit in audits[:1] for probe in _showcased(audit)}
    for eps in shared:
        if (series.perturbation, series.unit, eps) in shown:
            return eps
    return shared[len(shared) // 2] if shared else None


def _showcased(audit: Audit) -> list[Probe]:
    show = audit.summary.showcase
    return [p for p in audit.summary.probes if show is not None and (p.probe, p.eps) == (show.probe, show.eps)]


def paired(reference: Point | None, other: Point | None) -> Difference | None:
    """Mean Dice of `other` minus `reference` over the cases both hold; None if they share no case."""
    if reference is None or other is None:
        return None
    before = {case.case: case.dice for case in reference.cases if case.dice is not None}
    gaps = [case.dice - before[case.case] for case in other.cases if case.dice is not None and case.case in before]
    if not gaps:
        return None
    interval = bootstrap(gaps)
    return Difference(sum(gaps) / len(gaps), (interval[0], interval[1]) if interval else None, len(gaps))
