"""An audit on disk: one file per finished case, and the tables made from them."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from imaseg.auditing.case import CaseRecord, Slices
from imaseg.auditing.corruption_results import corruption_figures, degradation
from imaseg.auditing.metrics import MEAN, METRICS, Scores, interval_scores, mean_scores
from imaseg.auditing.plan import Plan
from imaseg.auditing.plan_probes import Part, Probe
from imaseg.auditing.results_margins import certified_summary, map_summary, margin_summary
from imaseg.auditing.sizes import RULE, by_size
from imaseg.auditing.validity import valid, validity
from imaseg.data.files import read_json, whole_file, write_json


def write_case(folder: Path, record: CaseRecord, slices: Slices, voxels: Slices | None = None) -> None:
    """Write a finished case; the JSON comes last, since its presence says that the case is done."""
    for name, arrays in ((f"{record.case}.npz", slices), (f"{record.case}.voxel_margin.npz", voxels)):
        if arrays:
            with whole_file(folder / name) as part:
                np.savez_compressed(part, allow_pickle=False, **arrays)
    write_json(folder / f"{record.case}.json", asdict(record))


def read_case(folder: Path, case: str) -> CaseRecord | None:
    """The record of a finished case, None if it is not finished."""
    path = folder / f"{case}.json"
    return CaseRecord(**read_json(path)) if path.is_file() else None


def write_table(path: Path, records: Sequence[CaseRecord]) -> None:
    """Tidy table: case, probe, eps, class, metric, value."""
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(["case", "probe", "eps", "class", "metric", "value"])
    for record in records:
        rows = [("clean", 0.0, record.clean), *((e["probe"], e["eps"], e["scores"]) for e in record.probes)]
        rows += [(e["corruption"], float(e["severity"]), e["scores"]) for e in record.corruptions]
        for probe, eps, scores in rows:
            for kind, values in scores.items():
                table.writerows([record.case, probe, eps, kind, m, values[m]] for m in METRICS if m in values)
        for kind, volume in record.volumes.items():
            table.writerow([record.case, "clean", 0.0, kind, "reference_volume", volume])
        for entry in (entry for entry in record.margins if entry["margin"] is not None):
            kind = "foreground_mean" if entry["class"] is None else entry["class"]
            for metric in ("margin", "censored"):
                table.writerow([record.case, entry["probe"], "", kind, metric, float(entry[metric])])
        for entry in record.certified:
            for radius, dice in zip(entry["radii"], entry["dice_at_radius"], strict=True):
                table.writerow([record.case, entry["probe"], radius, "foreground_mean", "dice_certified", dice])
    with whole_file(path) as part:
        part.write_text(text.getvalue())


def summarise(
    records: Sequence[CaseRecord], plan: Plan, *, labels: dict[int, str], seen: Sequence[str], known: bool = True
) -> dict[str, Any]:
    """The numbers of `summary.json`: clean, per probe and eps, margins, validity, all over the same cases.

    `cost` is of the machine; all else is the same however often and by how many processes the audit was run.
    """
    clean = _block({record.case: record.clean for record in records}, labels)
    probes = [_probe(records, plan, probe, eps, labels) for probe in plan.probes for eps in probe.eps]
    probes += [_worst_case(records, plan, group, labels) for group in _rivals(plan)]
    volumes = {record.case: record.volumes for record in records}
    checks = validity(records, plan, seen, known=known)
    return {
        **clean,
        "clean_dice_ci95": clean["ci95"]["dice"],
        "probes": probes,
        "by_size": by_size(volumes, clean, probes, list(clean["mean"])),
        "by_size_rule": RULE,
        "margins": [
            margin_summary(records, margin, k, labels)
            for margin in plan.margins
            for k in (None, *(k for k in labels if k > 0 and margin.per_class))
        ],
        **_corruptions(records, plan, labels),
        "certified": [found for probe in plan.certified if (found := certified_summary(records, probe))],
        **({"voxel_margins": map_summary(records, plan.voxel_margins)} if plan.voxel_margins else {}),
        "validity": checks,
        "valid": valid(checks),
        "showcase": {
            "probe": plan.probe(plan.showcase.attack).name,
            "eps": plan.showcase.eps,
            "unit": plan.probe(plan.showcase.attack).stated_unit,
        },
        "cost": {
            "seconds_per_case": statistics.median(record.seconds for record in records),
            "peak_memory_mb": max(record.peak_memory_mb for record in records),
        },
    }


def _corruptions(records: Sequence[CaseRecord], plan: Plan, labels: dict[int, str]) -> dict[str, Any]:
    """`corruptions` and `degradation`, where the plan has them."""
    if plan.corruptions is None:
        return {}
    entries = []
    for corruption in plan.corruptions.build(plan.seed):
        for severity in plan.corruptions.severities:
            figures, scores = corruption_figures(records, corruption, severity)
            if scores:
                block = _block(scores, labels)
                entries.append({**figures, "dice_ci95": block["ci95"]["dice"], **block})
    return {"corruptions": entries, "degradation": degradation(records)}


def _block(scores: dict[str, Scores], labels: dict[int, str]) -> dict[str, Any]:
    """Means over cases, in the form nnU-Net uses for its summaries, each with its interval."""
    rows = {k: [case[k] for case in scores.values()] for k in (MEAN, *(str(k) for k in labels if k > 0))}
    means = {k: mean_scores(of) for k, of in rows.items()}
    intervals = interval_scores(rows)
    return {
        MEAN: means.pop(MEAN),
        "ci95": intervals.pop(MEAN),
        "mean": means,
        "mean_ci95": intervals,
        "metric_per_case": [{"case": case, "metrics": values} for case, values in scores.items()],
    }


def _probe(
    records: Sequence[CaseRecord], plan: Plan, probe: Probe, eps: float, labels: dict[int, str]
) -> dict[str, Any]:
    entries = [next(e for e in r.probes if e["probe"] == probe.name and e["eps"] == eps) for r in records]
    attack = probe.build(eps, plan.seed)
    return {
        "probe": probe.name,
        "attack": probe.attack,
        "perturbation": probe.perturbation,
        "unit": probe.stated_unit,
        "objective": attack.objective.name,
        "steps": attack.steps,
        "restarts": attack.restarts,
        "seed": plan.seed,
        **_figures(records, entries, eps, labels, part=probe),
    }


def _rivals(plan: Plan) -> list[tuple[float, list[Probe]]]:
    """For each set, unit and eps the attacks that competed there, where there are several."""
    groups: dict[tuple[str, str, float], list[Probe]] = {}
    for probe in plan.probes:
        for eps in probe.eps if not probe.noise else []:
            groups.setdefault((probe.perturbation, probe.stated_unit, eps), []).append(probe)
    return [(eps, probes) for (_, _, eps), probes in groups.items() if len(probes) > 1]


def _worst_case(
    records: Sequence[CaseRecord], plan: Plan, group: tuple[float, list[Probe]], labels: dict[int, str]
) -> dict[str, Any]:
    """The lowest Dice of each case over all attacks at one budget: a model is as robust as its worst attack says."""
    eps, probes = group
    names = {probe.name for probe in probes}
    entries = [
        min((e for e in record.probes if e["probe"] in names and e["eps"] == eps), key=lambda e: _dice(e["scores"]))
        for record in records
    ]
    return {
        **_figures(records, entries, eps, labels, part=probes[0]),
        "probe": f"worst-case-{probes[0].perturbation}",
        "attack": "worst-case",
        "perturbation": probes[0].perturbation,
        "unit": probes[0].stated_unit,
        "members": sorted(names),
        "seed": plan.seed,
    }


def _figures(
    records: Sequence[CaseRecord],
    entries: Sequence[dict[str, Any]],
    eps: float,
    labels: dict[int, str],
    *,
    part: Part,
) -> dict[str, Any]:
    """What is stated of every probe: budget in all units, Dice interval, means, cases."""
    scores = {record.case: entry["scores"] for record, entry in zip(records, entries, strict=True)}
    block = _block(scores, labels)
    return {
        "eps": eps,
        "eps_native": _native(records, eps, part),
        "sizes": {unit: statistics.median(e["sizes"][unit] for e in entries) for unit in entries[0]["sizes"]},
        "n": len(records),
        "dice_ci95": block["ci95"]["dice"],
        **block,
    }


def _native(records: Sequence[CaseRecord], eps: float, part: Part) -> dict[str, float] | None:
    """The budget in native intensity units, which differ from case to case where images are normalised one by one.

    None where eps is no intensity, or the units are not known.
    """
    if not part.is_intensity:
        return None
    scales = [
        record.native_scale * (record.image_std if part.unit == "std" else 1.0)
        for record in records
        if record.native_scale is not None
    ]
    if len(scales) < len(records):
        return None
    return {"median": eps * statistics.median(scales), "min": eps * min(scales), "max": eps * max(scales)}


def _dice(scores: Scores) -> float:
    value = scores["foreground_mean"]["dice"]
    return float(value if value is not None else "nan")
