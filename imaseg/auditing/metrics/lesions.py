"""Instances of all cases together, by size, clean and under every probe, with rates and their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from imaseg.auditing.metrics.instances import COUNTED, SIZES, Instances
from imaseg.auditing.metrics.volumes import Scored
from imaseg.results.base import CaseScores
from imaseg.results.summary import InstanceGroup
from imaseg.statistics import jackknife, membership

Values = NDArray[np.float64]


def instance_groups(probes: Sequence[Scored], settings: Instances, units: Mapping[str, str]) -> list[InstanceGroup]:
    """Numbers and rates of each class and size under each probe.

    Args:
        probes: name, budget or severity, and scores of each, the unchanged images among them.
        settings: which classes are counted.
        units: what intervals are over, by case (`imaseg.results.case.units_of`).
    """
    return [
        _group(scores, units, structure=str(k), group=group, probe=probe, eps=eps)
        for k in settings.classes
        for probe, eps, scores in probes
        for group in ("all", *SIZES)
    ]


def _group(
    cases: Sequence[CaseScores], units: Mapping[str, str], *, structure: str, group: str, probe: str, eps: float
) -> InstanceGroup:
    names = [name if group == "all" else f"{name}_{group}" for name in COUNTED]
    counts = np.array([[case.metrics[structure][name] for name in names] for case in cases], dtype=float)
    member = membership([units[case.case] for case in cases])
    by_unit = member.T @ counts
    whole, without = _rates(by_unit.sum(0)[None])[0], _rates(by_unit.sum(0) - by_unit)
    has = by_unit[:, [0, 2]] > 0
    concerned = np.column_stack([has, has.any(1)])  # recall, precision, F1
    ends = jackknife(whole, np.where(concerned, without, np.nan).T, within=[(0.0, 1.0)] * 3)
    labelled, missed, predicted, invented = counts.sum(0).astype(int).tolist()
    recall, precision, f1 = (float(rate) if np.isfinite(rate) else None for rate in whole)
    return InstanceGroup(
        structure=structure,
        group=group,
        probe=probe,
        eps=eps,
        n=len(cases),
        labelled=labelled,
        missed=missed,
        predicted=predicted,
        invented=invented,
        recall=recall,
        precision=precision,
        f1=f1,
        ci95=dict(zip(("recall", "precision", "f1"), ends, strict=True)),
    )


def _rates(counts: Values) -> Values:
    """Recall, precision and F1 (rows, 3) of labelled, missed, predicted and invented (rows, 4); of nothing NaN.

    F1 is 0 wherever there are no pairs, also where nothing is predicted, or labelled, and one of the two is undefined.
    """
    labelled, missed, predicted, invented = counts.T
    with np.errstate(invalid="ignore", divide="ignore"):
        recall, precision = 1 - missed / labelled, 1 - invented / predicted
        f1 = np.where((recall == 0) | (precision == 0), 0.0, 2 * recall * precision / (recall + precision))
    return np.stack([recall, precision, f1], axis=1)
