"""What an audit will cost, before it starts."""

from __future__ import annotations

import math

import torch

from imaseg.auditing.case import BLACK_BOX_STEPS
from imaseg.auditing.plan import Plan
from imaseg.auditing.source import CaseSource
from imaseg.data import CaseSet
from imaseg.errors import InputError
from imaseg.models import SegmentationModel
from imaseg.models.device import seconds_per_pass


def estimate(model: SegmentationModel, cases: CaseSet, source: CaseSource, plan: Plan) -> float:
    """Expected seconds of an audit: the passes that the plan asks for, times one measured on the first readable case.

    Returns:
        Seconds; 0 if no case can be read, since then nothing will be run.
    """
    for case in cases:
        try:
            volume, _ = source.read(case)
        except InputError:
            continue
        return _passes(plan, len(cases)) * seconds_per_pass(model, torch.from_numpy(volume.image)[None])
    return 0.0


def _passes(plan: Plan, cases: int) -> int:
    """Forward and backward passes; a margin takes about log2(1 / rtol) halvings beyond its first search."""
    steps = [probe.build(eps, 0).steps * probe.restarts + 2 for probe in plan.probes for eps in probe.eps]
    steps += [margin.steps * (1 + math.ceil(-math.log2(margin.rtol))) for margin in plan.margins]
    steps.append(plan.corruptions.images if plan.corruptions is not None else 0)
    extra = 0
    if plan.validity is not None:
        each = 4 * plan.probe(plan.validity.attack).build(0.0, 0).steps + BLACK_BOX_STEPS // 2  # forward passes only
        extra = each * plan.validity.cases
    return sum(steps) * cases + extra
