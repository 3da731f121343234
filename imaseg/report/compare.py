"""Line up several audits: which attacks they share, which is the strongest, and paired differences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from imaseg.attacks import UniversalPGD
from imaseg.progress import counted
from imaseg.report.audits import Audit, Audits
from imaseg.report.blocks import Cell, with_interval
from imaseg.report.intervals import patients_of
from imaseg.report.other_cases import other_cases
from imaseg.report.wording import about_attack, attack_name, decimal, in_words, listing, set_name, unit_name
from imaseg.results.attack import AttackEntry
from imaseg.results.base import MEAN, CaseScores, Interval, Metrics
from imaseg.statistics import mean_interval

_Scores = dict[tuple[str, float], float]


class Series(NamedTuple):
    """What is comparable across budgets: one named probe in one perturbation set, unit and part of the images."""

    probe: str
    attack: str
    perturbation: str
    unit: str
    within: float | None
    made_on: str

    @classmethod
    def of(cls, entry: AttackEntry) -> Series:
        """That an entry belongs to."""
        return cls(entry.probe, entry.attack, entry.perturbation, entry.unit, entry.within, entry.made_on)

    @property
    def noise(self) -> bool:
        """Whether this probe draws at random instead of searching for the worst change."""
        return about_attack(self.attack).is_noise

    @property
    def universal(self) -> bool:
        """Whether one change is judged on many cases, which no attack on each case alone can be measured against."""
        return self.attack == UniversalPGD.name

    @property
    def title(self) -> str:
        """Attack and set, as headings call them."""
        return f"{self.name}, {self.set}"

    @property
    def name(self) -> str:
        """What the attack is called."""
        return attack_name(self.attack)

    @property
    def set(self) -> str:
        """What the perturbation set is called."""
        return set_name(self.perturbation, self.within, self.made_on)

    @property
    def searched(self) -> tuple[str, str, float | None, str]:
        """Set, unit, where it may change, model that was attacked: what must agree before budgets mean the same."""
        return self.perturbation, self.unit, self.within, self.made_on

    @property
    def axis(self) -> str:
        """What an axis of budgets is called."""
        return f"eps ({unit_name(self.unit)}, {self.set})"


class Point(NamedTuple):
    """Mean foreground metrics of one audit at one budget (0 is the clean image), and patients by case if named."""

    eps: float
    n: int
    metrics: Metrics
    ci95: dict[str, Interval]
    cases: list[CaseScores]
    probe: AttackEntry | None
    units: Mapping[str, str] = {}

    @property
    def dice(self) -> float | None:
        """Mean foreground Dice."""
        return self.metrics.get("dice")

    @property
    def dice_ci95(self) -> Interval:
        """Its interval."""
        return self.ci95.get("dice")

    @property
    def cell(self) -> Cell:
        """Mean foreground Dice with its interval."""
        return with_interval(self.dice, self.dice_ci95)

    def values(self, metric: str) -> dict[str, float]:
        """A metric of every case that has it."""
        found = {case.case: case.metrics.get(MEAN, {}).get(metric) for case in self.cases}
        return {case: value for case, value in found.items() if value is not None}


class Curve(NamedTuple):
    """Points of one audit by rising budget, and its number on the page, which decides its colour."""

    number: int
    audit: Audit
    points: list[Point]


class Difference(NamedTuple):
    """Paired mean difference over the cases that both audits hold, with its interval."""

    mean: float
    ci95: Interval
    n: int


def all_series(audits: Audits) -> list[Series]:
    """Every probe of any audit, in the order of first appearance."""
    return list(dict.fromkeys(Series.of(entry) for audit in audits for entry in audit.summary.probes))


def clean_point(audit: Audit) -> Point:
    """The unchanged image as budget 0."""
    found = audit.summary
    cases = found.metric_per_case
    intervals = found.ci95 | {"dice": found.clean_dice_ci95}
    return Point(0.0, len(cases), found.foreground_mean, intervals, cases, None, patients_of(audit))


def ladder(audit: Audit, series: Series) -> list[Point]:
    """Points of one probe by rising eps, without the clean one; empty if this audit does not hold it."""
    points = [
        Point(entry.eps, entry.n, entry.foreground_mean, entry.ci95, entry.metric_per_case, entry, patients_of(audit))
        for entry in audit.summary.probes
        if Series.of(entry) == series
    ]
    return sorted(points, key=lambda point: point.eps)


def curves_of(audits: Audits, series: Series, metric: str) -> list[Curve]:
    """Of each audit that has a metric under attack the points at which it is known, the clean one first."""
    curves = []
    for number, audit in enumerate(audits):
        points = [clean_point(audit), *ladder(audit, series)]
        curves.append(Curve(number, audit, [point for point in points if point.metrics.get(metric) is not None]))
    return [curve for curve in curves if any(point.probe for point in curve.points)]


def holders(audits: Audits, series: Series) -> list[Audit]:
    """The audits that hold a probe."""
    return [audit for audit in audits if ladder(audit, series)]


def budgets(audits: Audits, series: Series) -> list[float]:
    """Every eps at which any audit ran this probe."""
    return sorted({point.eps for audit in audits for point in ladder(audit, series)})


def at(audit: Audit, series: Series, eps: float) -> Point | None:
    """Point of one probe at one eps, None where it was not audited."""
    return next((point for point in ladder(audit, series) if point.eps == eps), None)


def strongest(audits: Audits) -> list[Series]:
    """For each set, unit and place, the attack with the lower mean Dice than most others at shared budgets.

    Attacks that were made on other models are left out, unless there are no others.
    """
    sets: dict[tuple[str, str, float | None, str], dict[Series, _Scores]] = {}
    searches = [series for series in all_series(audits) if not (series.noise or series.universal)]
    for series in [one for one in searches if not one.made_on] or searches:
        dice = {(a.name, p.eps): p.dice for a in audits for p in ladder(a, series) if p.dice is not None}
        sets.setdefault(series.searched, {})[series] = dice
    return [_best(rivals) for rivals in sets.values()]


def main_series(audits: Audits) -> Series | None:
    """The strongest attack of the set that the reference's pictures show, else of the first set."""
    lead, shown = strongest(audits), showcased(audits[0])
    here = Series.of(shown).searched if shown is not None else None
    return next((series for series in lead if series.searched == here), lead[0] if lead else None)


def _best(rivals: dict[Series, _Scores]) -> Series:
    return max(rivals, key=lambda series: (_beaten(rivals[series], rivals), len(rivals[series])))


def _beaten(own: _Scores, rivals: dict[Series, _Scores]) -> int:
    """How many rivals have the higher mean Dice over the models and budgets at which both were run."""
    return sum(sum(own[key] - dice[key] for key in own.keys() & dice.keys()) < 0 for dice in rivals.values())


def telling(audits: Audits, series: Series) -> float | None:
    """The budget at which models are compared: the showcased one if all hold it, else the middle one they share."""
    ladders = [{point.eps for point in ladder(audit, series)} for audit in holders(audits, series)]
    shared = sorted(set.intersection(*ladders)) if ladders else []
    shown = showcased(audits[0])
    if shown is not None and Series.of(shown).searched == series.searched:
        shared = [eps for eps in shared if eps == shown.eps] or shared
    return shared[len(shared) // 2] if shared else None


def showcased(audit: Audit) -> AttackEntry | None:
    """The attack whose slices are stored; None if the audit stored none."""
    show = audit.summary.showcase
    if show is None:
        return None
    return next((p for p in audit.summary.probes if (p.probe, p.eps) == (show.probe, show.eps)), None)


def paired(reference: Point | None, other: Point | None) -> Difference | None:
    """Mean Dice of `other` minus `reference` over the cases both hold; None if they share no case."""
    if reference is None or other is None:
        return None
    before, after = reference.values("dice"), other.values("dice")
    gaps = {case: after[case] - before[case] for case in after if case in before}
    units = [other.units.get(case) or reference.units.get(case, case) for case in gaps]
    change = [*gaps.values()]
    return Difference(sum(change) / len(change), mean_interval(change, units), len(change)) if change else None


def against(audits: Audits, audit: Audit, reference: Point | None, point: Point) -> str:
    """The paired difference from the first audit, as a sentence ends with it; empty for the first one."""
    if audit is audits[0]:
        return ""
    change, name = None if other_cases(audits[0], audit) else paired(reference, point), audits[0].name
    if change is None:
        return f", no case shared with {name}"
    words = in_words(change.ci95, sign=True)
    return f", {decimal(change.mean, sign=True)} against {name} case by case ({words}, n = {change.n})"


def settings(point: Point) -> str:
    """Objective, steps, restarts and seed of a probe, as far as it has them; empty for the clean image."""
    probe = point.probe
    if probe is None:
        return ""
    noise = Series.of(probe).noise
    parts = [
        f"the lowest Dice of each case over {listing(probe.members)}" if probe.members else "",
        f"objective {probe.objective}" if probe.objective and not noise else "",
        counted(probe.steps, "step") if probe.steps is not None and not noise else "",
        counted(probe.restarts, "draw" if noise else "restart") if probe.restarts is not None else "",
        f"fitted on {listing(probe.fitted_on)} and judged on {_judged_on(probe)}" if probe.fitted_on else "",
        probe.searched_near.words if probe.searched_near is not None else "",
        f"seed {probe.seed}",
    ]
    return ", ".join(part for part in parts if part)


def _judged_on(probe: AttackEntry) -> str:
    return "these" if {case.case for case in probe.metric_per_case} <= {*probe.fitted_on} else "other cases"
