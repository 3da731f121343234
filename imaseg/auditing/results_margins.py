"""Margins, certificates and margin maps of an audit, over its cases."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from imaseg.auditing.case import CaseRecord
from imaseg.auditing.plan_probes import CertifiedProbe, MarginProbe, VoxelMarginPlan
from imaseg.statistics import bootstrap


def margin_summary(
    records: Sequence[CaseRecord], margin: MarginProbe, k: int | None, labels: dict[int, str]
) -> dict[str, Any]:
    """Margins of the whole cases, or of structure `k` where the label holds it."""
    search = margin.build(0, classes=None if k is None else [k])
    found = [
        (record, entry)
        for record in records
        for entry in record.margins
        if entry["probe"] == margin.name and entry["class"] == k and entry["margin"] is not None
    ]
    values = [entry["margin"] for _, entry in found]
    return {
        "probe": margin.name if k is None else f"{margin.name}-class-{k}",
        "structure": None if k is None else labels[k],
        "perturbation": margin.perturbation,
        "unit": margin.stated_unit,
        "criterion": repr(search.criterion),
        "eps": margin.eps,
        "rtol": margin.rtol,
        "steps": margin.steps,
        "n": len(found),
        "median": statistics.median(values) if values else None,
        "median_ci95": bootstrap(values, median=True) if values else None,
        "censored": sum(entry["censored"] for _, entry in found),
        "per_case": [
            {
                "case": record.case,
                "margin": entry["margin"],
                "censored": entry["censored"],
                "clean_dice": record.clean["foreground_mean" if k is None else str(k)]["dice"],
            }
            for record, entry in found
        ],
    }


def certified_summary(records: Sequence[CaseRecord], probe: CertifiedProbe) -> dict[str, Any]:
    """Means over the cases that were certified; empty if none was."""
    found = [(record, e) for record in records for e in record.certified if e["probe"] == probe.name]
    if not found:
        return {}
    entries = [entry for _, entry in found]
    unit = probe.build(0)
    steps = range(len(unit.taus))

    def mean(key: str) -> list[float]:
        return [statistics.fmean(entry[key][step] for entry in entries) for step in steps]

    return {
        "probe": probe.name,
        "sigma": probe.sigma,
        "samples": probe.samples,
        "alpha": probe.alpha,
        "unit": "norm",
        "relative": "standard deviations of the image" if probe.unit == "std" else "units of the model's input",
        "n": len(found),
        "abstained": statistics.fmean(entry["abstained"] for entry in entries),
        "dice": statistics.fmean(entry["dice"] for entry in entries),
        "radii": [e / entries[0]["sigma"] * probe.sigma for e in entries[0]["radii"]],
        "radii_rms": mean("radii_rms"),
        "dice_at_radius": mean("dice_at_radius"),
        "certified_foreground": mean("certified_foreground"),
        "what": "dice_at_radius: no change within the radius brings the smoothed model's mean foreground Dice below "
        "this (mean over cases); certified_foreground: share of labelled voxels that are right and stay so",
        "per_case": [{"case": record.case, **entry} for record, entry in found],
    }


def map_summary(records: Sequence[CaseRecord], plan: VoxelMarginPlan) -> dict[str, Any]:
    """Which cases have a margin map, and how it was made."""
    return {
        "perturbation": plan.perturbation,
        "unit": plan.stated_unit,
        "eps": plan.eps,
        "rungs": plan.rungs,
        "focus": plan.focus,
        "cases": [record.case for record in records if record.voxel_margins],
        "per_case": [{"case": record.case, **record.voxel_margins} for record in records if record.voxel_margins],
    }
