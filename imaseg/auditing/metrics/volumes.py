"""Agreement of predicted volumes, clean against changed: bias and limits (Bland and Altman, Lancet 1986)."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from imaseg.results.base import CaseScores
from imaseg.results.summary import VolumeChange
from imaseg.statistics import FEWEST, mean_interval

_REACH = 1.96
"""Standard deviations between which 95 % of normal differences lie."""
Scored = tuple[str, float, Sequence[CaseScores]]
"""Name of a probe, budget or severity, and scores of its cases."""


def volume_changes(
    clean: Sequence[CaseScores], probes: Sequence[Scored], classes: Sequence[str], units: Mapping[str, str]
) -> list[VolumeChange]:
    """Figures of each class under each probe.

    Args:
        clean: scores of the unchanged images.
        probes: attacks and corruptions.
        classes: to report.
        units: what intervals are over, by case (`imaseg.results.case.units_of`).
    """
    before = {one.case: one.metrics for one in clean}
    found = []
    for k in classes:
        for probe, eps, after in probes:
            gaps = {one.case: _error(one.metrics[k]) - _error(before[one.case][k]) for one in after}
            found.append(_figures(gaps, units, structure=k, probe=probe, eps=eps))
    return found


def _error(scores: Mapping[str, float | None]) -> float:
    return scores["volume_error"] or 0.0


def _figures(
    gaps: Mapping[str, float], units: Mapping[str, str], *, structure: str, probe: str, eps: float
) -> VolumeChange:
    values = [*gaps.values()]
    bias, sd = statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None
    enough = sd is not None and len(values) >= FEWEST
    return VolumeChange(
        structure=structure,
        probe=probe,
        eps=eps,
        n=len(values),
        bias_ml=bias,
        ci95=mean_interval(values, [units[case] for case in gaps]),
        sd_ml=sd,
        limits_ml=[bias - _REACH * sd, bias + _REACH * sd] if sd is not None and enough else None,
    )
